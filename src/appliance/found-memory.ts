/** Memory of a region that an earlier process has left and this one has not opened yet. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FoundPages, PagerHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import type { Region } from './region.js';
import type { RegionKeeping } from './region-keeping.js';

/** Opens the regions of which there is some, one by one in the background. */
export async function adoptFound(regions: readonly Region[]): Promise<void> {
  for (const region of regions) {
    await nextTurn();
    // The mark that it is open goes to the device before the next one's.
    if (region.adopt()) await region.syncs.marked();
  }
}

/**
 * It counts among the frames of the appliance from the start on, though no region has been opened
 * for it: what a kill has left is in memory all the same. What is clean shall be able to go, so a
 * region that has some is opened soon; who asks before is told what its page table says.
 */
export class FoundMemory {
  readonly #pager: PagerHandle;
  readonly #keeping: Pick<RegionKeeping, 'memoryPages' | 'memoryFound'>;
  #pages = 0;
  #left: FoundPages | undefined;

  constructor(pager: PagerHandle, keeping: Pick<RegionKeeping, 'memoryPages' | 'memoryFound'>) {
    this.#pager = pager;
    this.#keeping = keeping;
    this.charge();
  }

  /** Charged now; 0 once the region is open. */
  get pages(): number {
    return this.#pages;
  }

  /** What of that is there, and is dirty. Opens nothing: a thousand regions may be asked. */
  get left(): FoundPages {
    if (this.#pages === 0) return { present: 0, dirty: 0 };
    this.#left ??= this.#keeping.memoryFound;
    return this.#left;
  }

  /** Charges what is there now. Requires: nothing is. */
  charge(): void {
    this.#pages = this.#keeping.memoryPages;
    if (this.#pages > 0) native().pagerChargeFound(this.#pager, this.#pages);
  }

  /** Opens the region with `open` if there is any; whether it did. */
  adopt(open: () => unknown): boolean {
    if (this.#pages === 0) return false;
    try {
      open();
      return true;
    } catch {
      return false; // It tells why it is unavailable.
    }
  }

  /** The native region has taken them over. */
  handOver<T>(region: T): T {
    this.#pages = 0;
    this.#left = undefined;
    return region;
  }

  /** The memory was deleted. */
  release(): void {
    if (this.#pages > 0) native().pagerReturnFound(this.#pager, this.#pages);
    this.#pages = 0;
  }
}
