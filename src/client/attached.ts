/** A region as a client's session has it: attached again where the session was opened anew. */
import type { Sent } from '../control/routes.js';
import type { Attachment } from '../control/schema.js';
import { type ErrorCode, FarpageError } from '../errors.js';
import { Unconfirmed } from './unconfirmed.js';

/** What is needed of the session. */
interface Host {
  /** Attaches it in the session of now. */
  readonly attach: (request: Sent<'attach'>) => Promise<Attachment>;
  /** Gives an STag of that session back. */
  readonly detach: (stag: number) => Promise<unknown>;
  /** Calls `renew`, in a new session where that of now has ended. */
  readonly regain: (attached: Attached) => Promise<void>;
}

/**
 * What no other try mends: it was given back; the name stands for another region, or for none; and
 * whoever carves it meanwhile may have taken the same slabs.
 */
const FINAL: readonly ErrorCode[] = [
  'ERR_CLOSED',
  'ERR_REGION_REMOVED',
  'ERR_NO_SUCH_REGION',
  'ERR_REGION_CARVED',
  'ERR_FILE_CHANGED',
];

export class Attached {
  readonly #request: Sent<'attach'>;
  readonly #host: Host;
  readonly unconfirmed: Unconfirmed;
  #reply: Attachment;
  #lost: FarpageError | undefined;
  #regaining: Promise<void> | undefined;
  /** The appliance is another process than when it was attached last. */
  #restarted = false;
  /** Slabs were carved out of it. */
  carved = false;

  constructor(request: Sent<'attach'>, reply: Attachment, host: Host) {
    this.#request = request;
    this.#host = host;
    this.#reply = reply;
    this.unconfirmed = new Unconfirmed(reply.epoch);
  }

  get reply(): Attachment {
    return this.#reply;
  }

  /** Why it could not be attached again; ERR_CLOSED once it was given back. */
  get lost(): FarpageError | undefined {
    return this.#lost;
  }

  /** Nobody can use it any more, whatever happens. */
  get isOver(): boolean {
    return this.#lost !== undefined && FINAL.includes(this.#lost.code);
  }

  /** It could not be attached again, and another try may mend that. */
  get isAway(): boolean {
    return this.#lost !== undefined && !this.isOver;
  }

  /** It was given back. */
  close(): void {
    this.#lost = new FarpageError('ERR_CLOSED', this.#reply.region);
  }

  /**
   * Attaches it in a new session; what stands in the way is in `lost`. `restarted`: the appliance
   * is another process than that of the session before.
   */
  async renew({ restarted }: { restarted: boolean }): Promise<void> {
    if (this.isOver) return;
    this.#restarted ||= restarted;
    try {
      const carving = this.#reply.carving ?? undefined;
      const reply = await this.#host.attach({
        ...this.#request,
        carving,
        ...(this.carved && { goOn: true }),
      });
      try {
        if (this.#lost !== undefined && this.isOver) throw this.#lost; // Given back meanwhile.
        this.#check(reply);
      } catch (error) {
        // Nor does it keep the right to carve what is another region.
        await this.#host.detach(reply.stag).catch(() => {});
        throw error;
      }
      this.unconfirmed.renew(reply, { restarted: this.#restarted });
      this.#reply = reply;
      this.#lost = undefined;
      this.#restarted = false;
    } catch (error) {
      if (!(error instanceof FarpageError)) throw error;
      if (!this.isOver) this.#lost = error;
    }
  }

  /** Once more, where that was in vain and need not be; throws what still stands in the way. */
  async regain(): Promise<void> {
    if (this.isAway) {
      this.#regaining ??= this.#host.regain(this).finally(() => {
        this.#regaining = undefined;
      });
      await this.#regaining;
    }
    if (this.#lost !== undefined) throw this.#lost;
  }

  /**
   * ERR_REGION_REMOVED where its name is that of another one, ERR_FILE_CHANGED for less of it,
   * ERR_REGION_CARVED where somebody else may have carved the slabs that were carved here.
   */
  #check(found: Attachment): void {
    const { region, size, lineage, carving } = this.#reply;
    if (found.lineage !== lineage) {
      throw new FarpageError('ERR_REGION_REMOVED', `another region is called ${region} now`);
    }
    if (this.carved && found.carving !== carving) {
      throw new FarpageError('ERR_REGION_CARVED', `${region}, since this client lost its session`);
    }
    if (found.size >= size) return;
    throw new FarpageError('ERR_FILE_CHANGED', `${region} has ${found.size} of ${size} bytes left`);
  }
}
