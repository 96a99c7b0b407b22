/**
 * Every request and reply of the control plane as a schema; both sides validate with them and
 * take their types from them. valibot, because loading it costs 8 ms where the others cost 45 ms
 * and more of a process start that may take 150.
 */
import * as v from 'valibot';

/** Bytes of one request's body at most. */
export const BODY_BYTES_MAX = 64 * 1024;
/** Cells of one page map at most. */
export const MAP_CELLS_MAX = 65_536;

const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const count = bytes;
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max));

const milliseconds = v.pipe(v.number(), v.minValue(0));

/** The name of a region: what a user gave, or `@` and 12 hexadecimal digits of an unnamed one. */
export const regionName = v.pipe(
  v.string(),
  v.regex(/^(?:[A-Za-z0-9._-]{1,128}|@[0-9a-f]{12})$/, 'must match [A-Za-z0-9._-]{1,128}'),
);
/** 128 random bits in hexadecimal: session identifiers and tickets. */
export const secret = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/));
export const access = v.picklist(['read-only', 'read-write']);
export const fill = v.picklist(['zero', 'one']);
export const kind = v.picklist(['mapped', 'staged', 'anonymous']);

const range = { offset: v.optional(bytes, 0), length: v.optional(bytes) };

export const rangeBody = v.strictObject(range);

export const permission = v.picklist(['none', 'read', 'read-write']);
export const protectBody = v.strictObject({ ...range, access: permission });
export const protectedRange = v.object({ offset: bytes, length: bytes, access: permission });
/** Every range that permits less than the region does, in order; at most 1,024. */
export const protection = v.object({ region: regionName, ranges: v.array(protectedRange) });

/** What becomes of dirty pages that are to go. */
const dirtyRule = v.picklist(['refuse', 'sync', 'discard']);
const reclaimRule = v.picklist(['keep', 'sync', 'discard']);
export const invalidateBody = v.strictObject({ ...range, dirty: v.optional(dirtyRule, 'refuse') });
export const reclaimBody = v.strictObject({ ...range, dirty: v.optional(reclaimRule, 'keep') });

/** What a region is made of: a file, or `size` bytes of `fill`, which `persist` keeps. */
export const regionBody = v.strictObject({
  name: v.optional(regionName),
  file: v.optional(text(4096)),
  offset: v.optional(bytes, 0),
  length: v.optional(bytes),
  size: v.optional(bytes),
  make: v.optional(v.boolean(), false),
  fill: v.optional(fill),
  access: v.optional(access),
  resident: v.optional(bytes),
  writeBehind: v.optional(v.boolean(), false),
  kind: v.optional(kind),
  persist: v.optional(v.boolean(), false),
  /** Its syncs happen wholly or not at all, at one instant; needs a file, or `persist`. */
  atomic: v.optional(v.boolean(), false),
  /** Takes nothing until it is first touched; regions without a file never do. */
  reserve: v.optional(v.boolean(), false),
  /** The region elsewhere that it is a copy of. */
  from: v.optional(text(4096)),
  /** File of the appliance's machine with the token for the other appliance. */
  fromTokenFile: v.optional(text(4096)),
});

export const region = v.object({
  name: regionName,
  kind,
  access,
  size: bytes,
  pageSize: bytes,
  address: v.nullable(v.pipe(v.string(), v.regex(/^0x[0-9a-f]+$/))),
  /** What was granted, and what of it has been allocated: nothing, until somebody touches it. */
  reservedBytes: bytes,
  allocatedBytes: bytes,
  pages: v.object({
    total: count,
    present: count,
    dirty: count,
    written: count,
    lost: count,
    /** Whose newest bytes are in a tier. */
    elsewhere: count,
    /** Of these, in a tier that cannot be reached now. */
    unreachable: count,
  }),
  frames: v.object({ max: count, used: count }),
  operations: v.object({ bypassed: count, faulted: count, bytes }),
  fills: v.object({ pages: count, bytes, read: count }),
  writebacks: v.object({ pages: count, bytes }),
  /** Since the last durable sync that this process saw the end of; null before the first. */
  syncAgeMs: v.nullable(milliseconds),
  state: v.picklist(['idle', 'reserved', 'ready', 'removing', 'unavailable']),
  fill: v.optional(fill),
  persist: v.boolean(),
  /** Its syncs happen wholly or not at all. */
  atomic: v.boolean(),
  file: v.optional(v.object({ path: v.string(), offset: bytes })),
  from: v.optional(
    v.object({
      url: v.string(),
      connected: v.boolean(),
      /** It has every page, and its source is asked no more. */
      detached: v.boolean(),
      /** Pages that only the source has; told where one region is asked for. */
      needed: v.optional(count),
    }),
  ),
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});

export const regionList = v.object({ regions: v.array(region) });

export const receipt = v.object({
  region: regionName,
  pagesWritten: count,
  bytesWritten: bytes,
  durable: v.boolean(),
  elapsedMs: v.pipe(v.number(), v.minValue(0)),
  /** Durable syncs of the region so far, over restarts; what `lostSince` compares. */
  epoch: v.optional(count),
  /** Of an atomic region: the number of the transaction, the same for all that it wrote. */
  transaction: v.optional(count),
});

/** Regions of one sync at most. */
export const GROUP_REGIONS_MAX = 256;
export const groupBody = v.strictObject({
  regions: v.pipe(v.array(regionName), v.minLength(1), v.maxLength(GROUP_REGIONS_MAX)),
  ...range,
});
export const receiptList = v.object({ receipts: v.array(receipt) });

/** What the last start found of a region; in pages. */
export const restartReceipt = v.object({
  region: regionName,
  /** How the region ended before: this is its first start, it was closed, its process died. */
  start: v.picklist(['first', 'clean', 'unclean']),
  /** What the memory directory had; null without one. */
  memory: v.nullable(v.picklist(['made', 'adopted', 'discarded', 'conflict'])),
  kept: v.object({ clean: count, dirty: count, repaired: count, dropped: count }),
  /** Read from the store since, and set to a fill value since, each when it was touched. */
  restored: count,
  filled: count,
  epoch: count,
  /** The sync whose later writes this start found lost; null when nothing was. */
  lostSince: v.nullable(count),
  /** The same of the last start that lost anything. */
  lastLoss: v.nullable(count),
  conflicts: v.object({
    pages: count,
    /** The first 64 runs in bytes. */
    runs: v.array(v.object({ offset: bytes, length: bytes })),
    /** Where the bytes are, each page at its offset. */
    file: v.optional(v.string()),
  }),
});

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
export const detached = v.object({ region: regionName, detached: v.literal(true), pages: count });

/** Pages that went down into the tiers or came up from them. */
export const demoteReply = v.object({ region: regionName, pagesDemoted: count });
export const promoteReply = v.object({ region: regionName, pagesPromoted: count });
/** The tiers below memory, the nearest first. */
export const tierList = v.object({
  memory: v.object({ capacityBytes: bytes, pages: count }),
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
  /** Until the fabric had forgotten all of them; the rest is giving their memory back. */
  shootdownMs: milliseconds,
  elapsedMs: milliseconds,
});

export const removeQuery = v.strictObject({ dirty: v.optional(dirtyRule, 'refuse') });
export const removeReply = v.object({ region: regionName, removed: v.literal(true) });

const digits = (name: string) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,16}$/, `${name} must be a whole number`),
    v.transform(Number),
    v.safeInteger(),
  );

export const pageMapQuery = v.strictObject({
  offset: v.optional(digits('offset'), '0'),
  length: v.optional(digits('length')),
  cells: v.optional(v.pipe(digits('cells'), v.minValue(1), v.maxValue(MAP_CELLS_MAX)), '64'),
});
/** Cells in base64, one byte each, with the bits of `regionPageMap` in `native/binding.ts`. */
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

export const endpoints = v.object({
  tcp: v.optional(v.object({ host: v.string(), port })),
  unix: v.optional(v.string()),
});

export const session = v.object({
  session: secret,
  ticket: secret,
  ticketMs: count,
  graceMs: count,
  pageSize: bytes,
  fabric: endpoints,
});
export const ticket = v.object({ ticket: secret, ticketMs: count });
export const closed = v.object({ closed: v.literal(true) });

export const attachBody = v.strictObject({
  region: regionName,
  access: v.optional(access),
  carve: v.optional(v.boolean(), false),
});
/** A region as one session reaches it: `stag` is good in that session's domain only. */
export const attachment = v.object({
  region: regionName,
  stag: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_ffff)),
  size: bytes,
  pageSize: bytes,
  /** Null until it is allocated. */
  address: v.nullable(v.string()),
  access,
  carve: v.boolean(),
  /** Another one once the name stands for other contents; a restart does not change it. */
  identity: secret,
});

export const exportBody = v.strictObject({
  host: v.optional(text(255), '127.0.0.1'),
  port: v.optional(port, 0),
  access: v.optional(access),
});
export const exported = v.object({ region: regionName, host: v.string(), port, access });
export const exportList = v.object({ exports: v.array(exported) });

/** What the appliance found when it started, before anybody touched a region. */
export const startReport = v.object({
  start: v.picklist(['clean', 'unclean']),
  regions: count,
  /** Regions of which the memory directory has memory; null without one. */
  inMemory: v.nullable(count),
  /** Kept files of no region: left as they are. */
  orphans: v.array(v.object({ file: v.string(), bytes })),
});

export const health = v.object({
  status: v.literal('ok'),
  version: v.string(),
  pid: count,
  uptimeMs: v.pipe(v.number(), v.minValue(0)),
});

export const failure = v.object({
  code: v.pipe(v.string(), v.regex(/^ERR_[A-Z0-9_]+$/)),
  message: v.string(),
  context: v.string(),
});

export type RegionBody = v.InferInput<typeof regionBody>;
export type RegionSpec = v.InferOutput<typeof regionBody>;
export type RegionStat = v.InferOutput<typeof region>;
export type RestartReceipt = v.InferOutput<typeof restartReceipt>;
export type PrefetchReply = v.InferOutput<typeof prefetch>;
export type Protection = v.InferOutput<typeof protection>;
export type Provenance = v.InferOutput<typeof provenance>;
export type ProvenanceRun = v.InferOutput<typeof provenanceRun>;
export type Permission = v.InferOutput<typeof permission>;
export type DirtyRule = v.InferOutput<typeof dirtyRule>;
export type ReclaimRule = v.InferOutput<typeof reclaimRule>;
export type InvalidateReply = v.InferOutput<typeof invalidateReply>;
export type ReclaimReply = v.InferOutput<typeof reclaimReply>;
export type Receipt = v.InferOutput<typeof receipt>;
export type TierList = v.InferOutput<typeof tierList>;
export type SessionReply = v.InferOutput<typeof session>;
export type Endpoints = v.InferOutput<typeof endpoints>;
export type Attachment = v.InferOutput<typeof attachment>;
export type Exported = v.InferOutput<typeof exported>;
export type Failure = v.InferOutput<typeof failure>;
export type StartReport = v.InferOutput<typeof startReport>;
export type Health = v.InferOutput<typeof health>;
export type PageMapReply = v.InferOutput<typeof pageMap>;
