/** Operations that wait for a free slot, in order. */
import { FarpageError } from '../errors.js';
import type { Operation } from './operation.js';

/** Operations that may wait; those beyond are refused. */
export const WAITING_MAX = 65_536;
/** Entries at the front that have gone before the rest moves up. */
const COMPACT_AFTER = 4096;

export class WaitingLine {
  #line: Operation[] = [];
  #head = 0;

  get length(): number {
    return this.#line.length - this.#head;
  }

  /** Ends the operation with ERR_QUOTA when WAITING_MAX wait already. */
  push(operation: Operation): void {
    // Those at the front that have ended wait no more.
    if (this.length >= WAITING_MAX) this.first();
    if (this.length < WAITING_MAX) this.#line.push(operation);
    else operation.fail(new FarpageError('ERR_QUOTA', `${WAITING_MAX} operations wait for a slot`));
  }

  /** The first that has not ended meanwhile; it stays. */
  first(): Operation | undefined {
    while (this.length > 0) {
      const operation = this.#line[this.#head];
      if (operation?.settled === false) return operation;
      this.shift();
    }
    return undefined;
  }

  shift(): void {
    this.#head++;
    if (this.#head === this.#line.length) this.#line.length = 0;
    else if (this.#head < COMPACT_AFTER) return;
    else this.#line.splice(0, this.#head);
    this.#head = 0;
  }

  all(): Operation[] {
    return this.#line.slice(this.#head);
  }
}
