/**
 * Every request and reply of the control plane as a schema; both sides validate with them and
 * take their types from them. valibot, because loading it costs 8 ms where the others cost 45 ms
 * and more of a process start that may take 150.
 */
import * as v from 'valibot';
import { dirtyRule, range, recordMs } from './page-schema.js';
import {
  access,
  bytes,
  count,
  fill,
  kind,
  milliseconds,
  port,
  regionName,
  secret,
  text,
} from './schema-values.js';

export * from './page-schema.js';
export type {
  Endpoints,
  Exported,
  Receipt,
  RegionStat,
  RestartReceipt,
  StartReport,
} from './replies.js';
export * from './schema-values.js';

/** Bytes of one request's body at most. */
export const BODY_BYTES_MAX = 64 * 1024;

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
  writeBehind: v.optional(v.boolean()),
  kind: v.optional(kind),
  persist: v.optional(v.boolean(), false),
  /** Its syncs happen wholly or not at all, at one instant; needs a file, or `persist`. */
  atomic: v.optional(v.boolean(), false),
  /** Takes nothing until it is first touched; regions without a file never do. */
  reserve: v.optional(v.boolean()),
  /** The region elsewhere that it is a copy of. */
  from: v.optional(text(4096)),
  /** File of the appliance's machine with the token for the other appliance. */
  fromTokenFile: v.optional(text(4096)),
  /** For how long its first start records which pages are used; each later one replays them. */
  workingSetMs: v.optional(recordMs),
});

/** A port that serves one region. */
export const exported = v.object({
  region: regionName,
  host: v.string(),
  port,
  access,
  stag: count,
  size: bytes,
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
    /** Of pinned ranges, present or not. */
    pinned: count,
  }),
  /** Memory that it may have and has, in pages: its pages, and beside them what these need. */
  frames: v.object({
    max: count,
    used: count,
    /** Page tables, page words and tier entries, which count as memory too. */
    tables: count,
  }),
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
  /** Ports that serve it; told by the control plane. */
  exports: v.optional(v.array(exported)),
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});

export const regionList = v.object({ regions: v.array(region) });

export const receipt = v.object({
  region: regionName,
  pagesWritten: count,
  bytesWritten: bytes,
  /** It is in its store for good; false of a flush, and where nothing keeps the region. */
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

export const failure = v.object({
  code: v.pipe(v.string(), v.regex(/^ERR_[A-Z0-9_]+$/)),
  message: v.string(),
  context: v.string(),
});

/** What the last start found of a region; in pages. */
export const restartReceipt = v.object({
  region: regionName,
  /** What is synced outlives the process; else each start without its memory begins anew. */
  persist: v.boolean(),
  /** How it ended for the process that had it open last, however long ago; first: none had. */
  start: v.picklist(['first', 'clean', 'unclean']),
  /** What the memory directory had; null without one. Stale: the region was written without it. */
  memory: v.nullable(v.picklist(['made', 'adopted', 'discarded', 'conflict', 'stale'])),
  kept: v.object({ clean: count, dirty: count, repaired: count, dropped: count }),
  /** Read from the store since, and set to a fill value since, each when it was touched. */
  restored: count,
  filled: count,
  epoch: count,
  /** How the count of its syncs was found; what was lost of it begins anew, as after a loss. */
  syncRecord: v.picklist(['whole', 'missing', 'damaged']),
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

/** Those of all regions, by name; of one that cannot be opened, why. */
export const restartReceiptList = v.object({
  receipts: v.array(v.union([restartReceipt, v.object({ region: regionName, error: failure })])),
});

export const removeQuery = v.strictObject({ dirty: v.optional(dirtyRule, 'refuse') });
export const removeReply = v.object({ region: regionName, removed: v.literal(true) });

export const detached = v.object({ region: regionName, detached: v.literal(true), pages: count });

export const endpoints = v.object({
  tcp: v.optional(v.object({ host: v.string(), port })),
  unix: v.optional(v.string()),
});

export const session = v.object({
  session: secret,
  /** Which start of the appliance this is: memory of an earlier one may be gone. */
  start: secret,
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
  /** What an earlier attachment was told: who had the right to carve then takes it again. */
  carving: v.optional(secret),
  /** ERR_REGION_CARVED, and nothing begins, where somebody else may have had it meanwhile. */
  goOn: v.optional(v.boolean(), false),
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
  /** With that right: as `carving` was sent, unless somebody else may have had it meanwhile. */
  carving: v.nullable(secret),
  /** Another one once the name stands for other contents; a restart does not change it. */
  identity: secret,
  /** Another one once the name stands for another region, whatever has become of the contents. */
  lineage: secret,
  /** Durable syncs so far, and one more for each loss; null where nobody counts them. */
  epoch: v.nullable(bytes),
  /** The sync whose later writes a start has lost last; null where none ever has. */
  lastLoss: v.nullable(bytes),
});

export const exportBody = v.strictObject({
  host: v.optional(text(255), '127.0.0.1'),
  port: v.optional(port, 0),
  access: v.optional(access, 'read-only'),
});
export const exportList = v.object({ exports: v.array(exported) });

/** What the appliance found when it started, before anybody touched a region. */
export const startReport = v.object({
  start: v.picklist(['clean', 'unclean']),
  regions: count,
  /** Regions of which the memory directory has memory; null without one. */
  inMemory: v.nullable(count),
  /** Kept files of no region: left as they are. */
  orphans: v.array(v.object({ file: v.string(), bytes })),
  /** Regions whose saved working set is not used, and why. */
  workingSets: v.array(v.object({ region: regionName, problem: v.string() })),
});

export const health = v.object({
  status: v.literal('ok'),
  version: v.string(),
  pid: count,
  uptimeMs: v.pipe(v.number(), v.minValue(0)),
});

/** What a region shall be made of, with sizes in bytes; `RegionOptions` takes texts for them. */
export type RegionBody = v.InferInput<typeof regionBody>;
/** The same with its defaults. */
export type RegionSpec = v.InferOutput<typeof regionBody>;
export type RestartReceiptList = v.InferOutput<typeof restartReceiptList>;
export type SessionReply = v.InferOutput<typeof session>;
export type Attachment = v.InferOutput<typeof attachment>;
export type Failure = v.InferOutput<typeof failure>;
