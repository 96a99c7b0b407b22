/** What one attachment has written that no sync of its whole region has confirmed. */
export class Unconfirmed {
  #posted = 0;
  #confirmed = 0;
  #doubtful = false;

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

  /** The first `posted` of them are durable. */
  confirm(posted: number): void {
    this.#confirmed = Math.max(this.#confirmed, posted);
  }

  /** The appliance was started anew: what is not confirmed may be gone. */
  doubt(): void {
    this.#doubtful ||= this.#posted > this.#confirmed;
  }

  get isDoubtful(): boolean {
    return this.#doubtful;
  }

  /** It is known what has become of them. */
  settle(lost: boolean): void {
    this.#doubtful = false;
    if (lost) this.#confirmed = this.#posted; // Told once.
  }
}
