/** Divides a queue pair's staging memory, which small payloads pass through. */

const SMALLEST_BYTES = 64;
/** Payloads over this are sent from and received into the caller's own memory. */
export const STAGED_BYTES_MAX = 16 * 1024;
const SMALLEST_SHIFT = Math.log2(SMALLEST_BYTES);
const CLASSES = Math.log2(STAGED_BYTES_MAX) - SMALLEST_SHIFT + 1;

/** The size class of `length`: 0 for up to 64 bytes, 1 for up to 128, and so on. */
function classOf(length: number): number {
  return length <= SMALLEST_BYTES ? 0 : 32 - Math.clz32(length - 1) - SMALLEST_SHIFT;
}

/**
 * Blocks of powers of two from 64 bytes to 16 KiB. A block keeps its size for good, and the last
 * one freed is the next one used, so that few of them stay warm in the cache.
 */
export class Staging {
  readonly #memory: ArrayBuffer;
  #used = 0;
  /** Views of all blocks by block number, and the free ones by class. */
  readonly #views: Uint8Array[] = [];
  readonly #free: number[][] = Array.from({ length: CLASSES }, () => []);

  constructor(memory: ArrayBuffer) {
    this.#memory = memory;
  }

  /** A block of at least `length` bytes, 0..STAGED_BYTES_MAX; -1 when there is none. */
  take(length: number): number {
    const sizeClass = classOf(length);
    const free = this.#free[sizeClass]?.pop();
    if (free !== undefined) return free;
    const bytes = SMALLEST_BYTES << sizeClass;
    if (this.#used + bytes > this.#memory.byteLength) return -1;
    this.#views.push(new Uint8Array(this.#memory, this.#used, bytes));
    this.#used += bytes;
    return this.#views.length - 1;
  }

  /** The block's memory. */
  view(block: number): Uint8Array {
    return this.#views[block] as Uint8Array;
  }

  give(block: number): void {
    this.#free[classOf(this.view(block).byteLength)]?.push(block);
  }
}
