/** The records of `native/queue-pair.ts`'s `QueuePair`, written and read in place. */
import type { QueuePair as NativeQueuePair } from '../native/binding.js';

const REQUEST_WORDS = 8;
const COMPLETION_WORDS = 4;

/** Views of one queue pair's request and completion records. */
export class QueuePairRecords {
  readonly #request: Float64Array;
  readonly #operand: BigUint64Array;
  readonly #completion: Float64Array;
  readonly #old: BigUint64Array;

  constructor(queuePair: NativeQueuePair) {
    this.#request = new Float64Array(queuePair.requests);
    this.#operand = new BigUint64Array(queuePair.requests);
    this.#completion = new Float64Array(queuePair.completions);
    this.#old = new BigUint64Array(queuePair.completions);
  }

  /** Writes record `index` but for operands; `staging` is -1 for attached memory. */
  putRequest(
    index: number,
    opcode: number,
    slot: number,
    stag: number,
    offset: number,
    length: number,
    staging: number,
  ): void {
    const at = index * REQUEST_WORDS;
    const words = this.#request;
    words[at] = opcode;
    words[at + 1] = slot;
    words[at + 2] = stag;
    words[at + 3] = offset;
    words[at + 4] = length;
    words[at + 5] = staging;
  }

  /** The operands of an atomic, taken modulo 2^64. */
  putOperands(index: number, first: bigint, second: bigint): void {
    const at = index * REQUEST_WORDS;
    this.#operand[at + 6] = first;
    this.#operand[at + 7] = second;
  }

  slotOf(index: number): number {
    return this.#completion[index * COMPLETION_WORDS] as number;
  }
  /** An index into the binding's `errorCodes`; 0 is success. */
  codeOf(index: number): number {
    return this.#completion[index * COMPLETION_WORDS + 1] as number;
  }
  /** layer<<16 | type<<8 | code of a Terminate, or -1. */
  terminateOf(index: number): number {
    return this.#completion[index * COMPLETION_WORDS + 2] as number;
  }
  oldValueOf(index: number): bigint {
    return this.#old[index * COMPLETION_WORDS + 3] as bigint;
  }
}
