/** The right to carve a region, which one session has at a time. */
import { FarpageError } from '../errors.js';
import { randomSecret } from './token.js';

/** Which request of its session something is: the first is 1. */
export interface Turn {
  readonly session: string;
  readonly turn: number;
}

/**
 * Whose it is, and a *tenure*: the name of a time in which one party had the right, which goes on
 * when the same party, telling that name, takes the right again and nobody else has had it since.
 * Over a restart it goes on for the first party that comes, if that one tells a name.
 */
export class Carving {
  #holder: string | undefined;
  #tenure: string | undefined;
  /** The last request that the holder has begun, whether it goes on, and the holder is leaving. */
  #turn = 0;
  #busy = false;
  #leaving = false;

  /** The session that has the right. */
  get holder(): string | undefined {
    return this.#holder;
  }

  /** The name of the time in which that one, or the last one, has it; null before the first. */
  get tenure(): string | null {
    return this.#tenure ?? null;
  }

  /** Gives it to a session, whoever had it. `tenure` names the time that shall go on. */
  give(session: string, tenure?: string): void {
    const known = this.#tenure ?? tenure;
    const goesOn = this.#holder === session || tenure === known;
    this.#tenure = known !== undefined && goesOn ? known : randomSecret().toString('hex');
    if (this.#holder !== session) this.#turn = 0;
    this.#holder = session;
    this.#leaving = false;
  }

  /** Takes it back, if the session has it: at the end of what it has begun. */
  take(session: string): void {
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
    this.#turn = turn;
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
      if (this.#leaving) this.#holder = undefined;
      this.#leaving = false;
    }
  }
}
