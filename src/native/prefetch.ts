/** What of prefetches crosses the border between TypeScript and C++. */
import type { RegionHandle } from './region.js';

declare const tag: unique symbol;
export type PrefetchHandle = object & { readonly [tag]: 'prefetch' };

/** How far a prefetch is, or was at its end; in pages. */
export interface PrefetchFigures {
  /** Of its range. */
  readonly pages: number;
  /** That it has come past: they were here, or are now. */
  readonly passedPages: number;
  /** That it brought itself. */
  readonly filledPages: number;
  /** It ended early, because bringing more would have pushed out others. */
  readonly full: boolean;
  /** `OK`, or a key of the registry in `errors.ts`; ERR_ABORTED when it was cancelled. */
  readonly code: string;
}

export interface PrefetchBinding {
  /**
   * The used pages of a region that are present, those used again since they came first: pairs of
   * first page and count, 65,536 of them at most. `withinMs`: only those used since, as finely as
   * that is known.
   */
  regionWorkingSet(
    region: RegionHandle,
    options: { withinMs?: number | undefined },
  ): Promise<{ readonly hotRuns: number; readonly runs: Float64Array }>;
  /**
   * Begins to bring the absent pages of a range into memory, behind everybody who waits for pages;
   * where pages come from elsewhere under a kept file, into that file too. Of such runs, one after
   * the other, into memory only. `done` never rejects.
   */
  regionPrefetch(
    region: RegionHandle,
    range: { offset: number; lengthBytes: number } | Float64Array,
  ): { handle: PrefetchHandle; done: Promise<PrefetchFigures> };
  prefetchFigures(prefetch: PrefetchHandle): PrefetchFigures;
  /** Ends it soon, unless it has ended; what it brought stays. */
  prefetchCancel(prefetch: PrefetchHandle): void;
  /** Pages that only the source elsewhere has: those that the kept file of a copy lacks. */
  regionNeededPages(region: RegionHandle): Promise<number>;
  /** The source is asked no more. Only when no page is needed. */
  regionDetachSource(region: RegionHandle): void;
}
