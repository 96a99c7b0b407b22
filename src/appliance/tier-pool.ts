/** The pool of a tier: a region of another appliance, as this one's client. */
import { noRegionIn, parseUrl } from '../control/address.js';
import { ControlClient } from '../control/http-client.js';
import { type ErrorCode, FarpageError } from '../errors.js';
import type { FreedPlaces, PoolDoor } from '../native/binding.js';
import { PAGE_BYTES } from '../units.js';
import { openElsewhere, type SessionElsewhere } from './session-elsewhere.js';
import { readToken } from './token.js';

/** Of one request to forget: so long a sweep at the other appliance keeps others there waiting. */
const FORGET_BYTES_MAX = 64 * 2 ** 20;
/** All requests of one `forget`, however many, and whatever the other appliance answers. */
export const FORGET_MS = 5000;

/** What may pass by itself: an appliance that is not up yet, our own session before a crash. */
const PASSING: readonly ErrorCode[] = [
  'ERR_CONNECTION',
  'ERR_NO_APPLIANCE',
  'ERR_QUOTA',
  'ERR_REGION_CARVED',
  'ERR_SESSION_ENDED',
  'ERR_TIMEOUT',
];

/**
 * Answers by which a request is not done, nor will be. They say nothing of requests before it; and
 * whatever else a call ends with, on this side too, does not tell whether it is done.
 */
const REFUSED: readonly ErrorCode[] = [
  'ERR_ACCESS',
  'ERR_ARGUMENT',
  'ERR_NO_SUCH_REGION',
  'ERR_TOKEN',
];

/** What has become of bytes that nobody wants. */
export type Forgotten = 'forgotten' | 'kept' | 'unknown';

interface Seen {
  readonly identity: string;
  readonly carving: string | undefined;
}

/** Runs of bytes in requests. */
function* piecesOf(runs: FreedPlaces['runs']): Generator<{ offset: number; length: number }> {
  for (const [first, bytes] of runs) {
    for (let at = 0; at < bytes; at += FORGET_BYTES_MAX) {
      yield { offset: first + at, length: Math.min(FORGET_BYTES_MAX, bytes - at) };
    }
  }
}

/**
 * Whether what was put there may be there. Where a session has ended against our will, or the other
 * appliance was started again, somebody else may have carved the pool before the next session, and
 * written there.
 */
function isSame(seen: Seen | undefined, found: Seen): boolean {
  return seen?.identity === found.identity && seen.carving === found.carving;
}

export interface TierPoolOptions {
  readonly url: string;
  /** Of the pool at most; all of it by default. */
  readonly capacityBytes?: number | undefined;
  /** Holds the token for the other appliance. */
  readonly tokenFile?: string | undefined;
}

/**
 * Attached with the right to carve, so that no other appliance keeps pages in it meanwhile. Each
 * door is of a session of its own, and no door opens before the session of the last one has ended.
 */
export class TierPool {
  readonly #control: ControlClient;
  readonly #region: string;
  readonly #capacityBytes: number;
  #session: SessionElsewhere | undefined;
  /** What the pool was when it was last seen. */
  #seen: Seen | undefined;
  #prepared: PoolDoor | undefined;
  /** The last request to forget something: of all its sessions. */
  #turn = 0;
  /** One of this session was not answered, nor was a later one done: it may be done at any time. */
  #untold = false;
  #opening: Promise<PoolDoor> | undefined;
  #closed = false;
  /** Why there was no door, the last time that one was wanted. */
  error: FarpageError | undefined;

  /** ERR_ARGUMENT for a URL that names no region, ERR_TOKEN for a token file that is none. */
  constructor({ url, capacityBytes, tokenFile }: TierPoolOptions) {
    const { address, region } = parseUrl(url);
    if (region === undefined) throw noRegionIn(url);
    const token = tokenFile === undefined ? undefined : readToken(tokenFile);
    this.#control = new ControlClient({ address, token });
    this.#region = region;
    this.#capacityBytes = capacityBytes ?? 0;
  }

  /**
   * Looks at the pool before anybody needs it; whether it could be reached. `isOwn` tells an
   * identity of a region of this very appliance. Throws what no later try can mend: ERR_ARGUMENT,
   * ERR_ACCESS, ERR_NO_SUCH_REGION, ERR_TOKEN, ERR_RANGE for a pool smaller than was said.
   */
  async probe(isOwn: (identity: string) => boolean): Promise<boolean> {
    try {
      this.#prepared = await this.door(isOwn);
      return true;
    } catch (error) {
      if (!(error instanceof FarpageError) || !PASSING.includes(error.code)) throw error;
      return false;
    }
  }

  /** A way to it. Errors: as probe says, and what may pass. */
  async door(isOwn: (identity: string) => boolean): Promise<PoolDoor> {
    const prepared = this.#prepared;
    this.#prepared = undefined;
    if (prepared !== undefined) return prepared;
    try {
      this.#opening = this.#open(isOwn);
      const door = await this.#opening;
      this.error = undefined;
      return door;
    } catch (error) {
      const code = error instanceof FarpageError ? error.code : 'ERR_INTERNAL';
      if (code === 'ERR_NO_SUCH_REGION') this.#seen = undefined;
      this.error = error instanceof FarpageError ? error : new FarpageError(code, String(error));
      throw this.error;
    }
  }

  /**
   * Tells the other appliance that nobody wants the bytes of these runs any more, up to the first
   * request that it does not answer: it may do that one later, unless it does another one after it,
   * or the session has ended. Takes `timeoutMs` at most.
   */
  async forget(runs: FreedPlaces['runs'], timeoutMs = FORGET_MS): Promise<Forgotten> {
    const session = this.#session?.id;
    if (session === undefined) return 'unknown';
    const params = { region: this.#region };
    const end = performance.now() + timeoutMs;
    try {
      for (const piece of piecesOf(runs)) {
        const left = Math.ceil(end - performance.now());
        if (left <= 0) return 'unknown';
        this.#turn += 1;
        const carver = { session, turn: this.#turn };
        const body = { ...piece, dirty: 'discard', carver } as const;
        await this.#control.call('invalidate', { timeoutMs: left, params, body });
        this.#untold = false;
      }
      return 'forgotten';
    } catch (error) {
      const code = error instanceof FarpageError ? error.code : 'ERR_INTERNAL';
      if (code === 'ERR_SESSION_ENDED') return 'kept';
      this.#untold ||= !REFUSED.includes(code);
      return this.#untold ? 'unknown' : 'kept';
    }
  }

  /** Ends the session at the other appliance, also one that is being opened. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening?.catch(() => {});
    const session = this.#session;
    this.#session = undefined;
    this.#prepared = undefined;
    await session?.end().catch(() => {});
    this.#control.close();
  }

  async #open(isOwn: (identity: string) => boolean): Promise<PoolDoor> {
    const region = this.#region;
    this.#checkOpen();
    // What was sent through the last door must not arrive once there is another one.
    await this.#session?.end();
    this.#session = undefined;
    this.#untold = false;
    this.#checkOpen();
    const session = await openElsewhere(this.#control, {
      region,
      access: 'read-write',
      carve: true,
      carving: this.#seen?.carving,
    });
    const { identity, size, carving } = session.attached;
    try {
      this.#checkOpen();
      if (isOwn(identity)) {
        throw new FarpageError('ERR_ARGUMENT', `${region} is a region of this very appliance`);
      }
      if (size < Math.max(this.#capacityBytes, PAGE_BYTES)) {
        throw new FarpageError('ERR_RANGE', `the pool ${region} has ${size} bytes only`);
      }
    } catch (error) {
      await session.end().catch(() => {});
      throw error;
    }
    this.#session = session;
    const found = { identity, carving: carving ?? undefined };
    const fresh = !isSame(this.#seen, found);
    this.#seen = found;
    return { ...session.door, lengthBytes: size, fresh };
  }

  #checkOpen(): void {
    if (this.#closed) throw new FarpageError('ERR_CLOSED', 'the tier');
  }
}
