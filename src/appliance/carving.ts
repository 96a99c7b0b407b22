/** The right to carve a region, which one session has at a time. */
import { randomSecret } from './token.js';

/**
 * Whose it is, and a *tenure*: the name of a time in which one party had the right, which goes on
 * when the same party, telling that name, takes the right again and nobody else has had it since.
 * Over a restart it goes on for the first party that comes, if that one tells a name.
 */
export class Carving {
  #holder: string | undefined;
  #tenure: string | undefined;

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
    this.#holder = session;
  }

  /** Takes it back, if the session has it. */
  take(session: string): void {
    if (this.#holder === session) this.#holder = undefined;
  }
}
