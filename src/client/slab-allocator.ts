/** Carves slabs out of a region's offsets, at the client and without any traffic. */
import { FarpageError } from '../errors.js';
import { type FreeBlock, FreeBlocks } from './free-blocks.js';

/** Slabs begin and end on cache lines, so that two of them never share one. */
export const GRANULE_BYTES = 64;
/** Slabs of one region at most, unless its options say otherwise: what bounds the map's memory. */
export const SLABS_MAX = 1_048_576;
/** Best fits that alignment may spoil before a block is taken that fits in any case. */
const CANDIDATES_MAX = 32;

const roundUp = (value: number, unit: number) => Math.ceil(value / unit) * unit;

/**
 * Best fit with coalescing, O(log n) for n free pieces. Offsets and lengths are in bytes; lengths
 * are rounded up to 64.
 */
export class SlabAllocator {
  readonly #free = new FreeBlocks();
  readonly #used = new Map<number, number>();
  readonly #slabsMax: number;
  #freeBytes: number;

  constructor(options: { lengthBytes: number; slabsMax?: number }) {
    // A rest that is no whole granule is left over; explicit offsets still reach it.
    this.#freeBytes = options.lengthBytes - (options.lengthBytes % GRANULE_BYTES);
    this.#slabsMax = options.slabsMax ?? SLABS_MAX;
    if (this.#freeBytes > 0) this.#free.add({ offset: 0, length: this.#freeBytes });
  }

  /** Slabs there are. */
  get slabs(): number {
    return this.#used.size;
  }

  /** Bytes that no slab has; not all of them need lie together. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** The length of the longest piece that could be allocated. */
  get longestBytes(): number {
    return this.#free.longest?.length ?? 0;
  }

  /**
   * Takes a piece and returns its offset, a multiple of `align` (a power of two, 64 by default).
   * ERR_ARGUMENT for a length of 0 or another align, ERR_SLAB_FULL when no piece is left.
   */
  allocate(lengthBytes: number, options: { align?: number | undefined } = {}): number {
    const { align: wanted = GRANULE_BYTES } = options;
    const align = Math.max(wanted, GRANULE_BYTES);
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 1) {
      throw new FarpageError('ERR_ARGUMENT', `a slab of ${lengthBytes} bytes`);
    }
    if (!Number.isSafeInteger(wanted) || !Number.isInteger(Math.log2(wanted))) {
      throw new FarpageError('ERR_ARGUMENT', `align ${String(wanted)} is no power of two`);
    }
    if (this.#used.size >= this.#slabsMax) {
      throw new FarpageError('ERR_SLAB_FULL', `there are ${this.#slabsMax} slabs`);
    }
    const length = roundUp(lengthBytes, GRANULE_BYTES);
    const block = this.#find(length, align);
    if (block === undefined) {
      const left = `${length} of ${this.#freeBytes} free bytes, ${this.longestBytes} in one piece`;
      throw new FarpageError('ERR_SLAB_FULL', left);
    }
    const offset = roundUp(block.offset, align);
    this.#free.remove(block);
    this.#addFree(block.offset, offset - block.offset);
    this.#addFree(offset + length, block.offset + block.length - offset - length);
    this.#used.set(offset, length);
    this.#freeBytes -= length;
    return offset;
  }

  /** Gives a piece back by its offset; ERR_ARGUMENT when no slab begins there. */
  free(offset: number): void {
    const length = this.#used.get(offset);
    if (length === undefined) throw new FarpageError('ERR_ARGUMENT', `no slab at ${offset}`);
    this.#used.delete(offset);
    this.#freeBytes += length;
    const left = this.#free.endingAt(offset);
    const right = this.#free.startingAt(offset + length);
    if (left !== undefined) this.#free.remove(left);
    if (right !== undefined) this.#free.remove(right);
    const begin = left?.offset ?? offset;
    this.#addFree(begin, (left?.length ?? 0) + length + (right?.length ?? 0));
  }

  #addFree(offset: number, length: number): void {
    if (length > 0) this.#free.add({ offset, length });
  }

  #find(length: number, align: number): FreeBlock | undefined {
    let block: FreeBlock | undefined;
    for (let tried = 0; tried < CANDIDATES_MAX; tried += 1) {
      block = this.#free.next(length, block);
      if (block === undefined) return undefined;
      if (roundUp(block.offset, align) + length <= block.offset + block.length) return block;
    }
    return this.#free.next(length + align - GRANULE_BYTES, undefined);
  }
}
