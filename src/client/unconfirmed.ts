/** What one attachment has written that no sync of its whole region has confirmed. */

/** What is known of a region's syncs; `epoch` is null where nobody counts them. */
interface Syncs {
  readonly epoch: number | null;
  readonly lastLoss: number | null;
}

/** The lowest epoch there is. */
const FIRST = 0;

export class Unconfirmed {
  #posted = 0;
  #confirmed = 0;
  /** Of the last sync that is known of: a restart that loses what came after it names it. */
  #epoch: number | null;
  #lostSince: number | undefined;

  constructor(epoch: number | null) {
    this.#epoch = epoch;
  }

  /** Writes and atomics posted so far: what `confirm` is told once a sync of them is over. */
  get posted(): number {
    return this.#posted;
  }

  /** A write or an atomic is sent, as far as can be told. */
  post(): void {
    this.#posted += 1;
  }

  /** One of those was not sent: it is not for a sync to keep. */
  takeBack(): void {
    this.#confirmed += 1;
  }

  /** The first `posted` of them are durable, by the sync of this epoch if that is counted. */
  confirm(posted: number, epoch: number | undefined): void {
    this.#confirmed = Math.max(this.#confirmed, posted);
    if (epoch !== undefined) this.#epoch = Math.max(this.#epoch ?? FIRST, epoch);
  }

  /**
   * The region was attached again. Starts of the appliance meanwhile, however many, may have lost
   * what is not confirmed: those that did left their mark, and where nobody counts, any may have.
   */
  renew(syncs: Syncs, { restarted }: { restarted: boolean }): void {
    const known = this.#epoch;
    const { epoch, lastLoss } = syncs;
    const counted = known !== null && epoch !== null;
    // A count that went back was lost itself, with what it would have told.
    const told = counted && (epoch < known || (lastLoss !== null && lastLoss >= known));
    const lost = counted ? told : restarted;
    if (lost && this.#posted > this.#confirmed) this.#lostSince ??= known ?? FIRST;
    this.#epoch = epoch;
  }

  /** The sync whose later writes are lost, once; undefined where none are. */
  takeLoss(): number | undefined {
    const lostSince = this.#lostSince;
    this.#lostSince = undefined;
    if (lostSince !== undefined) this.#confirmed = this.#posted;
    return lostSince;
  }
}
