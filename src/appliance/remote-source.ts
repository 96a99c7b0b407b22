/** The source of a copy: a region of another appliance, as this one's client. */
import { fabricDoorOf, parseUrl } from '../control/address.js';
import { ControlClient } from '../control/http-client.js';
import { HOLD_PATH } from '../control/routes.js';
import type { Attachment } from '../control/schema.js';
import { type ErrorCode, FarpageError } from '../errors.js';
import type { SourceDoor } from '../native/binding.js';
import type { Origin } from './record.js';
import { readToken } from './token.js';

/** Bound on each call to the other appliance; its reads have a deadline of their own. */
const TIMEOUT_MS = 2000;

/** What the native side is told when the other appliance refuses, where the codes differ. */
const TOLD: Partial<Record<ErrorCode, ErrorCode>> = {
  ERR_NO_APPLIANCE: 'ERR_CONNECTION',
  ERR_SESSION_ENDED: 'ERR_CONNECTION',
  ERR_NO_SUCH_REGION: 'ERR_SOURCE_CHANGED',
  ERR_TOKEN: 'ERR_ACCESS',
};

/** The code that reads of a copy end with when no door could be had because of `error`. */
export function refusalOf(error: unknown): ErrorCode {
  if (!(error instanceof FarpageError)) return 'ERR_INTERNAL';
  return TOLD[error.code] ?? error.code;
}

/**
 * Nothing is contacted before the first `door` or `probe`. Each door is of a session of its own,
 * so that what the source is gets looked at again with every connection.
 */
export class RemoteSource {
  readonly #control: ControlClient;
  readonly #region: string;
  #end: (() => void) | undefined;
  #closed = false;

  /** ERR_ARGUMENT for a URL that names no region, ERR_TOKEN for a token file that is none. */
  constructor(options: { url: string; tokenFile?: string | undefined }) {
    const { url, tokenFile } = options;
    const { address, region } = parseUrl(url);
    if (region === undefined) throw new FarpageError('ERR_ARGUMENT', `"${url}" names no region`);
    const token = tokenFile === undefined ? undefined : readToken(tokenFile);
    this.#control = new ControlClient({ address, token });
    this.#region = region;
  }

  /** What the source is now. ERR_NO_APPLIANCE, ERR_NO_SUCH_REGION, ERR_TOKEN, ERR_TIMEOUT. */
  async probe(): Promise<Origin> {
    const { attached } = await this.#attach();
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

  async #attach(): Promise<{ attached: Attachment; door: SourceDoor }> {
    this.#end?.();
    this.#end = undefined;
    const control = this.#control;
    const limits = { timeoutMs: TIMEOUT_MS };
    const opened = await control.call('openSession', limits);
    const params = { session: opened.session };
    // The other side ends the session by its grace once nobody holds it.
    const endHold = control.open(HOLD_PATH.replace(':session', opened.session), () => {});
    this.#end = () => {
      endHold();
      control.call('closeSession', { ...limits, params }).catch(() => {});
    };
    try {
      if (this.#closed) throw new FarpageError('ERR_CLOSED', 'the copy');
      const body = { region: this.#region, access: 'read-only' } as const;
      const attached = await control.call('attach', { ...limits, params, body });
      const ticket = Buffer.from(opened.ticket, 'hex');
      const where = fabricDoorOf(control.address, opened.fabric);
      return { attached, door: { ...where, ticket, stag: attached.stag } };
    } catch (error) {
      this.#end();
      throw error;
    }
  }
}
