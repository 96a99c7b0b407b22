/** The slots of a queue pair and the payload memory of whoever holds one. */
import { markAsUntransferable } from 'node:worker_threads';
import type { NativeBinding, QueuePair as NativeQueuePair } from '../native/binding.js';
import { OPCODE } from '../native/binding.js';
import type { Operation } from './operation.js';
import { allocateResult } from './result-memory.js';
import { STAGED_BYTES_MAX, Staging } from './staging.js';

export class SlotTable {
  readonly #native: NativeBinding;
  readonly #queuePair: NativeQueuePair;
  readonly #staging: Staging;
  readonly #operations: (Operation | undefined)[];
  /** A stack: few slots stay warm. */
  readonly #free: number[];

  constructor(native: NativeBinding, queuePair: NativeQueuePair) {
    this.#native = native;
    this.#queuePair = queuePair;
    this.#staging = new Staging(queuePair.staging);
    this.#operations = new Array<Operation | undefined>(queuePair.slots).fill(undefined);
    this.#free = Array.from({ length: queuePair.slots }, (_, slot) => queuePair.slots - 1 - slot);
  }

  get free(): number {
    return this.#free.length;
  }

  get used(): number {
    return this.#operations.length - this.#free.length;
  }

  /** By slot; undefined where one is free. */
  get all(): readonly (Operation | undefined)[] {
    return this.#operations;
  }

  /** Gives the operation a slot. There must be a free one. */
  occupy(operation: Operation): number {
    const slot = this.#free.pop() as number;
    operation.slot = slot;
    this.#operations[slot] = operation;
    return slot;
  }

  /** Takes slot and staging block back. */
  release(operation: Operation): void {
    this.#operations[operation.slot] = undefined;
    this.#free.push(operation.slot);
    if (operation.block >= 0) this.#staging.give(operation.block);
  }

  /**
   * Finds memory for the payload of a READ or WRITE that has a slot; a WRITE's small payload is
   * copied now. Returns an offset of the staging memory, or -1 for memory attached to the slot.
   */
  place(operation: Operation): number {
    const { length, slot } = operation;
    if (length === 0) return 0;
    const block = length <= STAGED_BYTES_MAX ? this.#staging.take(length) : -1;
    if (block >= 0) {
      const view = this.#staging.view(block);
      operation.block = block;
      if (operation.kind === OPCODE.write) view.set(operation.memory as Uint8Array);
      return view.byteOffset;
    }
    operation.memory ??= allocateResult(length);
    const { buffer } = operation.memory;
    // The native side holds its address: a transfer would take the memory away underneath.
    if (buffer instanceof ArrayBuffer) markAsUntransferable(buffer);
    this.#native.queuePairAttach(this.#queuePair.handle, slot, operation.memory);
    return -1;
  }

  /** The bytes of a READ that has been answered, copied out of staging where they landed there. */
  collect(operation: Operation): Uint8Array {
    const { block, length } = operation;
    const memory = operation.memory ?? allocateResult(length);
    if (block >= 0) {
      const view = this.#staging.view(block);
      memory.set(length === view.byteLength ? view : view.subarray(0, length));
    }
    return memory;
  }
}
