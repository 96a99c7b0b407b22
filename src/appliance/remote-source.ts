/** The source of a copy: a region of another appliance, as this one's client. */
import { type ApplianceUrl, formatUrl, noRegionIn, parseUrl } from '../control/address.js';
import { ControlClient } from '../control/http-client.js';
import { FarpageError } from '../errors.js';
import type { SourceDoor } from '../native/binding.js';
import type { Origin } from './record.js';
import { openElsewhere, type SessionElsewhere } from './session-elsewhere.js';
import { readToken } from './token.js';

/** What a call to an appliance that cannot be reached ends with. */
const AWAY: readonly string[] = ['ERR_NO_APPLIANCE', 'ERR_CONNECTION'];

/** What is told of a call to the source that failed: ERR_SOURCE_AWAY where nobody answered. */
export function sourceFailure(cause: unknown, url: string): FarpageError {
  if (!(cause instanceof FarpageError)) return new FarpageError('ERR_INTERNAL', url, { cause });
  if (!AWAY.includes(cause.code)) return cause;
  return new FarpageError('ERR_SOURCE_AWAY', `${url}: ${cause.message}`, { cause });
}

/**
 * Nothing is contacted before the first `door` or `probe`. Each door is of a session of its own,
 * so that what the source is gets looked at again with every connection.
 */
/** ERR_ARGUMENT with what a source may be. */
function addressOf(url: string): ApplianceUrl {
  try {
    return parseUrl(url);
  } catch (cause) {
    if (!(cause instanceof FarpageError) || URL.canParse(url)) throw cause;
    const forms =
      'farpage://HOST[:PORT]/REGION, farpage+unix:/PATH?region=REGION or http(s)://HOST/FILE';
    throw new FarpageError('ERR_ARGUMENT', `"${url}" is no source; write ${forms}`, { cause });
  }
}

export class RemoteSource {
  readonly #control: ControlClient;
  readonly #region: string;
  readonly #url: string;
  #end: (() => void) | undefined;
  #closed = false;

  /** ERR_ARGUMENT for a URL that names no region, ERR_TOKEN for a token file that is none. */
  constructor(options: { url: string; tokenFile?: string | undefined }) {
    const { url, tokenFile } = options;
    const { address, region } = addressOf(url);
    if (region === undefined) throw noRegionIn(url);
    const token = tokenFile === undefined ? undefined : readToken(tokenFile);
    this.#control = new ControlClient({ address, token });
    this.#region = region;
    this.#url = url;
  }

  /** What the source is now. ERR_SOURCE_AWAY, ERR_NO_SUCH_REGION, ERR_TOKEN, ERR_TIMEOUT. */
  async probe(): Promise<Origin> {
    const { attached } = await this.#attach().catch((cause: unknown) => {
      if (!(cause instanceof FarpageError) || cause.code !== 'ERR_NO_SUCH_REGION') {
        throw sourceFailure(cause, this.#url);
      }
      // Or it would be looked for here, where nobody said that it is.
      const what = `the source, ${formatUrl(this.#control.address)}, has no ${this.#region}`;
      throw new FarpageError(cause.code, what, { cause });
    });
    return { size: attached.size, identity: attached.identity };
  }

  /** A way to read it; ERR_SOURCE_CHANGED when it is not what `expected` says. */
  async door(expected: Origin): Promise<SourceDoor> {
    const { attached, door } = await this.#attach();
    if (attached.size === expected.size && attached.identity === expected.identity) return door;
    this.#end?.();
    const found = attached.size === expected.size ? 'another region' : `${attached.size} bytes`;
    throw new FarpageError('ERR_SOURCE_CHANGED', `${this.#region} is ${found} now`);
  }

  /** Ends the session at the other appliance. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#end?.();
    this.#control.close();
  }

  async #attach(): Promise<SessionElsewhere> {
    this.#end?.();
    this.#end = undefined;
    const access = 'read-only';
    const session = await openElsewhere(this.#control, { region: this.#region, access });
    this.#end = () => {
      session.end().catch(() => {});
    };
    if (!this.#closed) return session;
    this.#end();
    throw new FarpageError('ERR_CLOSED', 'the copy');
  }
}
