/** Requests and replies over the pages of a range: what they are, where they go, for whom. */
import * as v from 'valibot';
import { bytes, count, milliseconds, regionName } from './schema-values.js';

export type { InvalidateReply, PrefetchReply, ProvenanceRun, WorkingSetReply } from './replies.js';

/** Cells of one page map at most. */
export const MAP_CELLS_MAX = 65_536;

/** From `offset` on, up to the end without `length`. */
export const range = { offset: v.optional(bytes, 0), length: v.optional(bytes) };

export const rangeBody = v.strictObject(range);

export const permission = v.picklist(['none', 'read', 'read-write']);
export const protectBody = v.strictObject({ ...range, access: permission });
export const protectedRange = v.object({ offset: bytes, length: bytes, access: permission });
/** Every range that permits less than the region does, in order; at most 1,024. */
export const protection = v.object({ region: regionName, ranges: v.array(protectedRange) });

export const pinBody = v.strictObject({
  ...range,
  /** What is absent comes when it is touched, and is not brought near at once. */
  lazy: v.optional(v.boolean(), false),
});
export const pinnedRange = v.object({ offset: bytes, length: bytes });
/** Every range whose pages stay in memory, in order; at most 1,024. */
export const pins = v.object({ region: regionName, ranges: v.array(pinnedRange) });

/** What becomes of dirty pages that are to go. */
export const dirtyRule = v.picklist(['refuse', 'sync', 'discard']);
const reclaimRule = v.picklist(['keep', 'sync', 'discard']);
const invalidation = { ...range, dirty: v.optional(dirtyRule, 'refuse') };
/** Of the administrator, who has no turns. */
export const invalidateOptions = v.strictObject(invalidation);
export const invalidateBody = v.strictObject({
  ...invalidation,
  /**
   * The session that carves the region, and the number of this request of its: none is done after
   * one of a higher number. Attached read-write it may discard in plain memory through every door,
   * but for ranges that are protected.
   */
  carver: v.optional(
    v.strictObject({
      session: v.string(),
      turn: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    }),
  ),
});
export const reclaimBody = v.strictObject({ ...range, dirty: v.optional(reclaimRule, 'keep') });

/** How far a prefetch is, or was when it ended; in pages. */
export const prefetch = v.object({
  region: regionName,
  /** Counts the prefetches of a region in this process. */
  id: count,
  offset: bytes,
  length: bytes,
  /** `partial`: it stopped where bringing more would have pushed out other pages. */
  state: v.picklist(['running', 'done', 'partial', 'cancelled', 'failed']),
  /** Of the range; that it has come past, here now or for nobody to read; that it brought. */
  pages: v.object({ total: count, passed: count, filled: count }),
  elapsedMs: v.pipe(v.number(), v.minValue(0)),
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});
export const prefetchList = v.object({ prefetches: v.array(prefetch) });

/** A recording takes a day at most. */
export const recordMs = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(86_400_000));
/** How long the first start of a region records, or one that is asked for without a time. */
export const RECORD_MS = 120_000;
export const workingSetBody = v.strictObject({
  /** Record what is used from now on; save what was used so far; bring near what was saved. */
  action: v.picklist(['record', 'save', 'replay']),
  recordMs: v.optional(recordMs, RECORD_MS),
});
export const workingSet = v.object({
  region: regionName,
  state: v.picklist(['none', 'recording', 'saved']),
  /** Of what was saved; of these, used again after they came; in how many runs. */
  pages: count,
  bytes,
  hotPages: count,
  runs: count,
  savedAt: v.nullable(v.string()),
  /** Of a recording. */
  leftMs: v.nullable(count),
  /** The last one of this process. */
  replay: v.optional(prefetch),
  /** Why its file is not used, or was not written. */
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});

/** Pages that went down into the tiers or came up from them. */
export const demoteBody = v.strictObject({
  ...range,
  /** Only pages that nobody has used for so long; rounded up to what is known. */
  coldMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
});
export const demoteReply = v.object({
  region: regionName,
  pagesDemoted: count,
  /** That would have gone and are pinned. */
  pagesPinned: count,
  /** How long nobody had used them at least, where that was asked. */
  coldMs: v.optional(count),
});
export const promoteReply = v.object({ region: regionName, pagesPromoted: count });
/** The tiers below memory, the nearest first. */
export const tierList = v.object({
  memory: v.object({
    capacityBytes: bytes,
    pages: count,
    /** What counts towards the capacity: pages, and the tables that they need. */
    pageBytes: bytes,
    tableBytes: bytes,
    /** What the process takes beside that. */
    ownBytes: bytes,
  }),
  tiers: v.array(
    v.object({
      kind: v.picklist(['compressed', 'file', 'appliance']),
      directory: v.optional(v.string()),
      /** URL of the region that a tier at another appliance keeps its pages in. */
      pool: v.optional(v.string()),
      state: v.optional(v.picklist(['connecting', 'connected', 'away'])),
      /** Why it is away. */
      error: v.optional(v.object({ code: v.string(), message: v.string() })),
      capacityBytes: bytes,
      usedBytes: bytes,
      pages: count,
      storedPages: count,
      loadedPages: count,
      demotedPages: count,
      lostPages: count,
    }),
  ),
});

export const invalidateReply = v.object({
  region: regionName,
  /** That are absent now and were not. */
  pagesInvalidated: count,
  /** Written back for it. */
  pagesWritten: count,
  elapsedMs: milliseconds,
});
export const reclaimReply = v.object({
  region: regionName,
  pagesReclaimed: count,
  /** Written back for it, and dirty ones that stay. */
  pagesWritten: count,
  pagesDirty: count,
  /** That would have gone and are pinned. */
  pagesPinned: count,
  /** Until the fabric had forgotten all of them; the rest is giving their memory back. */
  shootdownMs: milliseconds,
  elapsedMs: milliseconds,
});

const digits = (name: string) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,16}$/, `${name} must be a whole number`),
    v.transform(Number),
    v.safeInteger(),
  );

/** A range as a query has it. */
export const rangeQuery = v.strictObject({
  offset: v.optional(digits('offset'), '0'),
  length: v.optional(digits('length')),
});

export const pageMapQuery = v.strictObject({
  offset: v.optional(digits('offset'), '0'),
  length: v.optional(digits('length')),
  cells: v.optional(v.pipe(digits('cells'), v.minValue(1), v.maxValue(MAP_CELLS_MAX)), '64'),
});
/** Cells in base64, one byte each, with the bits of `regionPageMap` in `native/region.ts`. */
export const pageMap = v.object({
  region: regionName,
  offset: bytes,
  length: bytes,
  cells: v.pipe(v.string(), v.base64()),
});

/** Runs of one answer at most. */
export const PROVENANCE_RUNS_MAX = 4096;
export const provenanceQuery = v.strictObject({
  offset: v.optional(digits('offset'), '0'),
  length: v.optional(digits('length')),
  limit: v.optional(
    v.pipe(digits('limit'), v.minValue(1), v.maxValue(PROVENANCE_RUNS_MAX)),
    '1024',
  ),
});
/** Neighbouring pages of which the same is true. */
export const provenanceRun = v.object({
  offset: bytes,
  length: bytes,
  /**
   * `untouched`: not here, never written, filled by the next touch; `filled` with a value; from
   * the `file`; from `elsewhere`, pulled or read; `kept`: in the own file of a copy since before
   * the last start, pulled or written then; `dirty`; `written-back`: written here, and its store
   * has it; `lost`.
   */
  state: v.picklist([
    'untouched',
    'filled',
    'file',
    'elsewhere',
    'kept',
    'dirty',
    'written-back',
    'lost',
  ]),
  /** Of untouched and filled pages: what the next touch brings, or the first one brought. */
  from: v.optional(v.picklist(['zero', 'one', 'file', 'elsewhere'])),
  /** Where the newest bytes are, unless only where they come from has them. */
  place: v.optional(v.picklist(['memory', 'tier'])),
});
/** The range from its first byte up to `next`, where to ask on; null once all of it was told. */
export const provenance = v.object({
  region: regionName,
  offset: bytes,
  length: bytes,
  runs: v.array(provenanceRun),
  next: v.nullable(bytes),
});

/** The ranges of a region whose pages stay in memory, in order. */
export type Pins = v.InferOutput<typeof pins>;
/** The ranges of a region that permit less than the region does, in order. */
export type Protection = v.InferOutput<typeof protection>;
export type Provenance = v.InferOutput<typeof provenance>;
/** What may be done with a range, by whoever it is. */
export type Permission = v.InferOutput<typeof permission>;
/** What becomes of dirty pages that are to go: refuse with ERR_REGION_DIRTY, write, or forget. */
export type DirtyRule = v.InferOutput<typeof dirtyRule>;
/** The same where memory is given back: dirty pages are left where they are, written, forgotten. */
export type ReclaimRule = v.InferOutput<typeof reclaimRule>;
export type DemoteReply = v.InferOutput<typeof demoteReply>;
export type ReclaimReply = v.InferOutput<typeof reclaimReply>;
export type TierList = v.InferOutput<typeof tierList>;
