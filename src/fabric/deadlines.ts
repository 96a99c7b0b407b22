/** The deadlines of many operations by one timer. */
import { FarpageError } from '../errors.js';
import type { Operation } from './operation.js';

/** How often deadlines are looked at, thus how late one may be noticed. */
const TICK_MS = 10;

/**
 * Looks at every live operation once a tick, while there are any. No operation costs a timer or a
 * look at the clock when it is posted: its time begins with the first tick that sees it.
 */
export class Deadlines {
  readonly #live: () => Iterable<Operation | undefined>;
  readonly #onTick = () => this.#tick();
  #timer: NodeJS.Timeout | undefined;
  #armed = false;

  /** `live` yields the operations that may be unsettled. */
  constructor(live: () => Iterable<Operation | undefined>) {
    this.#live = live;
  }

  /** There is an operation: tick until there is none. Does not keep the process alive. */
  arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    if (this.#timer === undefined) this.#timer = setTimeout(this.#onTick, TICK_MS).unref();
    else this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #tick(): void {
    this.#armed = false;
    const now = performance.now();
    let more = false;
    for (const operation of this.#live()) {
      if (operation === undefined || operation.settled || operation.timeoutMs === 0) continue;
      if (operation.deadline === 0) operation.deadline = now + operation.timeoutMs;
      if (now < operation.deadline) more = true;
      else
        operation.fail(new FarpageError('ERR_TIMEOUT', `no answer in ${operation.timeoutMs} ms`));
    }
    if (more) this.arm();
  }
}
