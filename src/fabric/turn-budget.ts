/** How long JavaScript may poll for answers before it lets the event loop go round. */

/** Polling batches in a row for longer than this would starve timers and other sockets. */
const TURN_MS_MAX = 1;
const CONFIDENCE_MAX = 8;
const FAILURE_COST = 2;
/** While polling does not pay, one batch in so many tries it again. */
const PROBE_EVERY = 32;

/**
 * Decides batch by batch whether to poll. Polling stops when answers have lately taken longer than
 * it, and for one batch when this turn of the event loop has lasted long enough.
 */
export class TurnBudget {
  readonly #spinUs: number;
  #confidence = CONFIDENCE_MAX;
  #skipped = 0;
  #turnBegan = 0;
  #immediate: NodeJS.Immediate | undefined;
  readonly #endTurn = () => {
    this.#immediate = undefined;
  };

  constructor(spinUs: number) {
    this.#spinUs = spinUs;
  }

  /** Microseconds to poll for the batch that is posted at `now`. */
  spinUs(now: number): number {
    if (this.#spinUs === 0) return 0;
    if (this.#confidence <= 0 && ++this.#skipped % PROBE_EVERY !== 0) return 0;
    if (this.#immediate === undefined) {
      this.#turnBegan = now;
      // Runs once the event loop gets its turn; it does not keep the process alive.
      this.#immediate = setImmediate(this.#endTurn).unref();
    } else if (now - this.#turnBegan > TURN_MS_MAX) {
      return 0;
    }
    return this.#spinUs;
  }

  /** A batch was polled for: did an answer come meanwhile? */
  learn(answered: boolean): void {
    if (answered) this.#confidence = CONFIDENCE_MAX;
    else if (this.#confidence > 0) this.#confidence -= FAILURE_COST;
  }
}
