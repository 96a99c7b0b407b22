/** The right to carve a region, which one session has at a time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { FarpageError } from '../errors.js';
import type { TenureRecord } from './tenure-record.js';
import { randomSecret } from './token.js';

/** A discard waits 15 s for pages that are being filled, and is soon done after that. */
const TURN_MS_MAX = 20_000;

/** Which request of its session something is: the first is 1. */
export interface Turn {
  readonly session: string;
  readonly turn: number;
}

/** What who wants to carve tells: the name of an earlier time, and that only that shall go on. */
export interface Asked {
  readonly tenure?: string | undefined;
  readonly goOn?: boolean;
}

/**
 * Whose it is, and a *tenure*: the name of a time in which one party had the right, which goes on
 * when the same party, telling that name, takes the right again and nobody else has had it since.
 * Of a region that outlives the process it is on disk before anybody has the right; where nothing
 * of it is found there, somebody else may have had the right. Of any other region nothing is left
 * after a restart: it goes on for the first party that comes, if that one tells a name.
 */
export class Carving {
  readonly #region: string;
  readonly #record: TenureRecord | undefined;
  readonly #fresh: boolean;
  #holder: string | undefined;
  /** The session that is being given it, how many have asked, and when the last is answered. */
  #asking: string | undefined;
  #asked = 0;
  #given: Promise<void> = Promise.resolve();
  /** The first tenure of a region made just now, until it is on disk; when the last try ends. */
  #unkept: string | undefined;
  #tried: Promise<void> = Promise.resolve();
  #tenure: string | undefined;
  /** The last request that the holder has begun, whether it goes on, and the holder is leaving. */
  #turn = 0;
  #busy = false;
  #leaving = false;
  /** Settles with what goes on; and how much there is that nothing may go on beside. */
  #running: Promise<unknown> = Promise.resolve();
  #alone = 0;

  /**
   * `record`: where the tenure of the region of that name is kept over restarts. `fresh`: it was
   * made just now, and nobody can have carved it.
   */
  constructor(region: string, record?: TenureRecord, fresh = false) {
    this.#region = region;
    this.#record = record;
    this.#fresh = fresh;
  }

  /** The session that has the right. */
  get holder(): string | undefined {
    return this.#holder;
  }

  /** The name of the time in which that one, or the last one, has it; null before the first. */
  get tenure(): string | null {
    return this.#tenure ?? null;
  }

  /** ERR_REGION_CARVED where another session has it, or is being given it. */
  check(session: string): void {
    if (this.isFreeFor(session)) return;
    throw new FarpageError('ERR_REGION_CARVED', `another session carves ${this.#region}`);
  }

  /** Whether no other session has it, or is being given it. */
  isFreeFor(session: string): boolean {
    return [this.#holder, this.#asking].every((other) => other === undefined || other === session);
  }

  /**
   * Gives it to a session; `tenure` names the time that shall go on, and with `goOn` no other one
   * begins. It has it when this settles, and the tenure is durable then. ERR_REGION_CARVED where
   * another one has it, or may have had it since; ERR_SESSION_ENDED where it was taken back
   * meanwhile; ERR_IO, ERR_NO_SPACE.
   */
  async give(session: string, asked: Asked = {}): Promise<void> {
    this.check(session);
    this.#asking = session;
    this.#asked += 1;
    const given = this.#given.then(() => this.#begin(session, asked));
    this.#given = given.catch(() => {});
    try {
      await given;
    } finally {
      this.#asked -= 1;
      if (this.#asked === 0) this.#asking = undefined;
    }
  }

  async #begin(session: string, asked: Asked): Promise<void> {
    if (this.#asking === session && this.#holder !== session) {
      this.#tenure = await this.#tenureFor(asked);
    }
    if (this.#asking !== session) {
      throw new FarpageError('ERR_SESSION_ENDED', 'while it was given the right to carve');
    }
    if (this.#holder !== session) this.#turn = 0;
    this.#holder = session;
    this.#leaving = false;
  }

  /** The one that goes on, or a new one. */
  async #tenureFor({ tenure, goOn = false }: Asked): Promise<string> {
    const known = this.#tenure ?? (this.#record === undefined ? tenure : await this.#record.read());
    if (tenure !== undefined && tenure === known) {
      await this.#keep();
      return tenure;
    }
    if (goOn) {
      const why = `${this.#region}, since this client lost its session`;
      throw new FarpageError('ERR_REGION_CARVED', why);
    }
    const begun = randomSecret().toString('hex');
    const before = this.#unkept;
    this.#unkept = begun;
    try {
      const kept = this.#keep();
      // Who makes a region and carves it need not wait: if it is lost, so are the slabs at a
      // restart, and nobody else's are at stake. A sync does wait.
      if (this.#fresh && this.#tenure === undefined) kept.catch(() => {});
      else await kept;
      return begun;
    } catch (error) {
      this.#unkept = before;
      throw error;
    }
  }

  /** Writes what is not on disk yet, one at a time. ERR_IO, ERR_NO_SPACE: the next call tries. */
  async #keep(): Promise<void> {
    const kept = this.#tried.then(async () => {
      const tenure = this.#unkept;
      if (tenure === undefined) return;
      await this.#record?.write(tenure);
      if (this.#unkept === tenure) this.#unkept = undefined;
    });
    this.#tried = kept.catch(() => {});
    await kept;
  }

  /** Settles once what was begun is on disk. ERR_IO, ERR_NO_SPACE. */
  async kept(): Promise<void> {
    await this.#given;
    await this.#keep();
  }

  /** Settles once nothing is being written; nobody may ask any more. */
  async settled(): Promise<void> {
    await this.#given;
    await this.#tried;
  }

  /** Deletes what is kept of it. */
  forget(): void {
    this.#record?.forget();
  }

  /** Takes it back, if the session has it: at the end of what it has begun. */
  take(session: string): void {
    if (this.#asking === session) this.#asking = undefined;
    if (this.#holder !== session) return;
    this.#leaving = this.#busy;
    if (!this.#busy) this.#holder = undefined;
  }

  /**
   * Does what its holder asks, one request at a time and none that is older than one before: who
   * has the answer to a request knows that no earlier one, unanswered, is done any more, and who
   * carves next finds none. ERR_SESSION_ENDED, ERR_REGION_BUSY.
   */
  async inTurn<T>({ session, turn }: Turn, work: () => Promise<T>): Promise<T> {
    if (session !== this.#holder || this.#leaving) {
      throw new FarpageError('ERR_SESSION_ENDED', 'it does not carve the region');
    }
    if (this.#busy || turn <= this.#turn) {
      throw new FarpageError('ERR_REGION_BUSY', 'an earlier request of the session');
    }
    if (this.#alone > 0) throw new FarpageError('ERR_REGION_BUSY', 'its protection changes');
    this.#turn = turn;
    this.#busy = true;
    try {
      const done = (async () => await work())();
      this.#running = Promise.allSettled([done]);
      return await done;
    } finally {
      this.#busy = false;
      if (this.#leaving) this.#holder = undefined;
      this.#leaving = false;
    }
  }

  /**
   * Does what no request of the holder's may go on beside: after the one that does, and none begins
   * meanwhile. ERR_REGION_BUSY when that one has not ended within `waitMs`, and nothing is done.
   */
  async betweenTurns<T>(work: () => Promise<T>, waitMs = TURN_MS_MAX): Promise<T> {
    this.#alone += 1;
    const ended = new AbortController();
    try {
      const { signal } = ended;
      const late = sleep(waitMs, 'late', { ref: false, signal }).catch(() => undefined);
      if (this.#busy && (await Promise.race([this.#running, late])) === 'late') {
        throw new FarpageError('ERR_REGION_BUSY', 'a discard of the session that carves it');
      }
      return await work();
    } finally {
      ended.abort();
      this.#alone -= 1;
    }
  }
}
