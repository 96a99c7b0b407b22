/** Regions at the border: opened, supplied, written back, protected, pinned, evicted, closed. */
import type { PagerHandle } from './pager.js';
import type {
  AdoptionReport,
  FileRegionOptions,
  InvalidateReceipt,
  PageRequest,
  Permission,
  PinnedRange,
  ProtectedRange,
  RegionStats,
  SourceDoor,
  StagedRegionOptions,
  WriteBackReceipt,
} from './region-options.js';

declare const tag: unique symbol;
export type RegionHandle = object & { readonly [tag]: 'region' };

export interface RegionBinding {
  regionOpenFile(pager: PagerHandle, options: FileRegionOptions): RegionHandle;
  /** Memory of no file's own: a memfd whose pages are filled from a source. */
  regionOpenStaged(pager: PagerHandle, options: StagedRegionOptions): RegionHandle;
  /** The door that a remote source asked for: where to connect, with which ticket and STag. */
  regionOpenDoor(region: RegionHandle, door: SourceDoor): void;
  /** No door: ERR_CONNECTION and ERR_TIMEOUT let reads wait for another, others end them. */
  regionRefuseDoor(region: RegionHandle, code: string): void;
  /**
   * Requests of a callback source, as many as may be under way; ask again after each answer. Late
   * ones keep their place until they are answered. None of a closed region.
   */
  regionTakeRequests(region: RegionHandle): PageRequest[];
  /**
   * The pages that a request asked for, which are copied; or, without bytes, that what it brought
   * is safe. Bytes of another length end it with ERR_INTERNAL. False: nobody knows this request
   * (any more), nothing happened.
   */
  regionAnswerRequest(region: RegionHandle, id: number, bytes?: Uint8Array): boolean;
  /** Bytes for it have come: reads in the background may take longer. False: nobody waits. */
  regionTellAlive(region: RegionHandle, id: number): boolean;
  /** The request failed with a code of the registry; ERR_IO for one that the core does not know. */
  regionRefuseRequest(region: RegionHandle, id: number, code: string): boolean;
  regionStats(region: RegionHandle): RegionStats;
  /**
   * What it found in the memory directory when it was allocated; null without one, and while the
   * region is only reserved.
   */
  regionAdoption(region: RegionHandle): AdoptionReport | null;
  /**
   * Writes back the dirty pages that the range touches; with `durable` also fdatasync. Runs on the
   * pager's write-back thread; the promise settles on the JavaScript thread.
   */
  regionWriteBack(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; durable: boolean },
  ): Promise<WriteBackReceipt>;
  /**
   * Permits these accesses to the pages that the range touches and no others; settles with all
   * ranges that permit less than the region when none that is forbidden is under way any more.
   * ERR_QUOTA beyond 1,024 ranges.
   */
  regionProtect(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; access: Permission },
  ): Promise<ProtectedRange[]>;
  regionProtection(region: RegionHandle): ProtectedRange[];
  /** Sets what was protected before a restart; before the region's address is registered. */
  regionRestoreProtection(region: RegionHandle, ranges: readonly ProtectedRange[]): void;
  /**
   * Pages that the range touches stay in memory once they are there, or with `pinned: false` may
   * go again; settles with all ranges that stay. ERR_QUOTA beyond 1,024 of them, `pagesMax` pages
   * of this region or half of the pager's memory.
   */
  regionPin(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; pinned: boolean; pagesMax: number },
  ): Promise<PinnedRange[]>;
  regionPins(region: RegionHandle): PinnedRange[];
  /** Pins what was before a restart, as far as there is room; before anybody uses the region. */
  regionRestorePins(
    region: RegionHandle,
    ranges: readonly PinnedRange[],
    options: { pagesMax: number },
  ): void;
  /**
   * Makes the pages that the range touches absent, also those whose fill had begun; waits for
   * these up to 15 s. `refuse` does nothing while one of them is dirty.
   */
  regionInvalidate(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; dirty: 'refuse' | 'keep' | 'discard' },
  ): Promise<InvalidateReceipt>;
  /** Evicts present pages of the range that nobody uses at the moment. */
  regionReclaim(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; dirty: 'refuse' | 'keep' | 'discard' },
  ): Promise<InvalidateReceipt>;
  /**
   * A picture of the range: `cells` bytes, each the OR over its share of pages of 1 present,
   * 2 dirty, 4 written since allocation, 8 written back, 16 lost, 64 in a tier; 32 when only a
   * part is present.
   */
  regionPageMap(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; cells: number },
  ): Uint8Array;
  /**
   * Idempotent. Ends its users' operations with ERR_REGION_REMOVED, waits one grace period and for
   * what is under way at its store, and unmaps. Dirty pages are dropped: write them back before.
   */
  regionClose(region: RegionHandle): void;
  /** The same, and a thread of the pager's own waits: a store may hang. At once nobody finds it. */
  regionEnd(region: RegionHandle): Promise<void>;
}
