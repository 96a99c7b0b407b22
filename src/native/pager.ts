/** The pager at the border: memory for all regions, how much of it there is, and what it did. */
import type { FoundPages, MemoryDirectory } from './region-options.js';
import type { TierOptions } from './tiers.js';

declare const tag: unique symbol;
/** What pages of all regions live in; its threads end with it. */
export type PagerHandle = object & { readonly [tag]: 'pager' };
/** What allocations of one session are charged to. */
export type AccountHandle = object & { readonly [tag]: 'account' };

/** Numbers that the pager works by; every one has a default in `appliance/`. */
export interface PagerOptions {
  /** Bound on present pages over all regions, in bytes; at least one page. */
  readonly memoryBytes: number;
  /** Threads that do blocking store reads, 1..64. */
  readonly fillThreads: number;
  /** Largest read-ahead window of one sequential stream, in bytes; 0 turns it off. */
  readonly readAheadBytes: number;
  /** Bytes of allocated regions together at most; Infinity by default. */
  readonly allocatedBytesMax?: number;
  /** How finely it is known when pages were used, in milliseconds; 30,000. */
  readonly ageTickMs?: number;
  /** Where dirty pages go when memory is short, from the one nearest to memory on. */
  readonly tiers?: readonly TierOptions[];
}

/** Counters of one pager since it was opened. */
export interface PagerStats {
  readonly memoryBytes: number;
  /** Of these: pages, and the tables that they need, the kernel's and ours. */
  readonly pageBytes: number;
  readonly tableBytes: number;
  /** What the process takes beside them: an estimate, resident memory of no file less these. */
  readonly ownBytes: number;
  /** Bytes of allocated regions, and their bound; Infinity where there is none. */
  readonly allocatedBytes: number;
  readonly allocatedBytesMax: number;
  /** Bytes of ranges of addresses, and how often an idle region has given its range back. */
  readonly mappedBytes: number;
  readonly parkedRegions: number;
  readonly presentPages: number;
  readonly dirtyPages: number;
  readonly evictedPages: number;
  readonly gracePeriods: number;
  /** Pages that writers copied because an atomic sync had frozen them. */
  readonly frozenCopies: number;
  /** How finely and how far back it is known when pages were used. */
  readonly ageTickMs: number;
  readonly ageMaxMs: number;
  readonly queuedFaults: number;
}

export interface PagerBinding {
  pagerOpen(options: PagerOptions): PagerHandle;
  pagerStats(pager: PagerHandle): PagerStats;
  /**
   * Takes frames, beyond the bound if need be, that memory fills which an earlier process has left
   * of a region that is not open: one with such `chargedPages` takes them over. And gives them
   * back: that memory was deleted.
   */
  pagerChargeFound(pager: PagerHandle, pages: number): void;
  pagerReturnFound(pager: PagerHandle, pages: number): void;
  /** What lies there of a region that nobody has opened; changes nothing. */
  memoryFound(place: Pick<MemoryDirectory, 'directory' | 'id' | 'bootId'>): FoundPages;
  /** Idempotent; its regions must be closed. Returns after its threads have been joined. */
  pagerClose(pager: PagerHandle): void;

  /** What allocations of one session are charged to, beside the pager's bound. */
  accountOpen(pager: PagerHandle, options: { bytesMax: number }): AccountHandle;
}
