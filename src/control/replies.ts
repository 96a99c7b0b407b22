/**
 * What the appliance tells, as users of the library have it. The schemas say the same, and a test
 * holds both together; but only comments on a type of its own are shown by editors.
 */
import type { Access } from '../native/binding.js';

/** Where the fabric is reached: on TCP, if it listens there, and on a Unix socket. */
export interface Endpoints {
  tcp?: { host: string; port: number } | undefined;
  /** Path of the socket. */
  unix?: string | undefined;
}

/** A port that serves a region to any RDMA program. */
export interface Exported {
  region: string;
  host: string;
  port: number;
  access: Access;
  /** What a READ or WRITE names, with offsets from 0 to `size`; the port's MPA reply has both. */
  stag: number;
  size: number;
}

/** What a region does wrong: a code of the registry, and a sentence with what to do. */
export interface ToldError {
  code: string;
  message: string;
}

/** One region's figures: what it is, what of it is in memory, what was done with it. */
export interface RegionStat {
  name: string;
  kind: 'mapped' | 'staged' | 'anonymous';
  access: Access;
  /** In bytes, as is all that is not called pages. */
  size: number;
  pageSize: number;
  /** Virtual address of its first byte at the appliance, `0x…`; null while it has none. */
  address: string | null;
  /** What was granted. */
  reservedBytes: number;
  /** What of that has been allocated: nothing, until somebody touches it. */
  allocatedBytes: number;
  pages: {
    total: number;
    /** In memory. */
    present: number;
    /** Written, and not yet in the store. */
    dirty: number;
    /** Written since the region was allocated. */
    written: number;
    /** That cannot be read any more: ERR_PAGE_LOST. */
    lost: number;
    /** Whose newest bytes are in a tier. */
    elsewhere: number;
    /** Of these, in a tier that cannot be reached now: ERR_TIER_AWAY. */
    unreachable: number;
    /** Of pinned ranges, present or not. */
    pinned: number;
  };
  /** Memory, in pages. */
  frames: {
    /** What it may have, and has. */
    max: number;
    used: number;
    /** Page tables, page words and tier entries, which count as memory too. */
    tables: number;
  };
  operations: {
    /** That met present pages alone: the NIC's thread has served them by itself. */
    bypassed: number;
    /** That met an absent page. */
    faulted: number;
    /** What all of them carried. */
    bytes: number;
  };
  /** Pages that were made present. */
  fills: {
    pages: number;
    bytes: number;
    /** Pages read from a device or a peer; fill values are not. */
    read: number;
  };
  /** Written to the store, by syncs, flushes and memory pressure. */
  writebacks: { pages: number; bytes: number };
  /** Since the last durable sync that this process saw the end of; null before the first. */
  syncAgeMs: number | null;
  /** Not opened yet; opened, not allocated; in use; ending; or out of use, as `error` says. */
  state: 'idle' | 'reserved' | 'ready' | 'removing' | 'unavailable';
  /** Of a region without a file: what its pages hold until they are written. */
  fill?: 'zero' | 'one' | undefined;
  /** What is synced outlives the process. */
  persist: boolean;
  /** Its syncs happen wholly or not at all. */
  atomic: boolean;
  /** The file that it is, and where it begins there. */
  file?: { path: string; offset: number } | undefined;
  /** Of a copy: its source. */
  from?:
    | {
        url: string;
        connected: boolean;
        /** It has every page, and its source is asked no more. */
        detached: boolean;
        /** Pages that only the source has; told where one region is asked for. */
        needed?: number | undefined;
      }
    | undefined;
  /** Ports that serve it; told by the control plane. */
  exports?: Exported[] | undefined;
  /** Why it is unavailable; or what its last write-back, or its source, has met. */
  error?: ToldError | undefined;
}

/** What a sync or flush did. */
export interface Receipt {
  region: string;
  /** What was dirty and has been written to the store. */
  pagesWritten: number;
  bytesWritten: number;
  /** It is in its store for good; false of a flush, and where nothing keeps the region. */
  durable: boolean;
  elapsedMs: number;
  /** Durable syncs of the region so far, over restarts; what `lostSince` compares. */
  epoch?: number | undefined;
  /** Of an atomic region: the number of the transaction, the same for all that it wrote. */
  transaction?: number | undefined;
}

/** What the last start of the appliance found of a region; in pages. */
export interface RestartReceipt {
  region: string;
  /** What is synced outlives the process; else each start without its memory begins anew. */
  persist: boolean;
  /** How it ended for the process that had it open last, however long ago; first: none had. */
  start: 'first' | 'clean' | 'unclean';
  /** What the memory directory had; null without one. Stale: the region was written without it. */
  memory: 'made' | 'adopted' | 'discarded' | 'conflict' | 'stale' | null;
  /** Of that memory: taken over, put right on the way, and given up because the store changed. */
  kept: { clean: number; dirty: number; repaired: number; dropped: number };
  /** Read from the store since, when they were touched. */
  restored: number;
  /** Set to a fill value since, when they were touched. */
  filled: number;
  /** Durable syncs so far, and one more for each loss. */
  epoch: number;
  /** How the count of its syncs was found; what was lost of it begins anew, as after a loss. */
  syncRecord: 'whole' | 'missing' | 'damaged';
  /** The sync whose later writes this start found lost; null when nothing was. */
  lostSince: number | null;
  /** The same of the last start that lost anything. */
  lastLoss: number | null;
  /** Dirty pages of a file that changed meanwhile: set aside, and lost to the region. */
  conflicts: {
    pages: number;
    /** The first 64 runs, in bytes. */
    runs: { offset: number; length: number }[];
    /** Where the bytes are, each page at its offset. */
    file?: string | undefined;
  };
}

/** How far a prefetch is, or was when it ended. */
export interface PrefetchReply {
  region: string;
  /** Counts the prefetches of a region in this process of the appliance. */
  id: number;
  /** Its range in bytes. */
  offset: number;
  length: number;
  /** `partial`: it stopped where bringing more would have pushed out other pages. */
  state: 'running' | 'done' | 'partial' | 'cancelled' | 'failed';
  /** Of the range; that it has come past, here now or for nobody to read; that it brought. */
  pages: { total: number; passed: number; filled: number };
  elapsedMs: number;
  /** Why it failed. */
  error?: ToldError | undefined;
}

/** What is known of the pages that a region has in use, to be brought near after a restart. */
export interface WorkingSetReply {
  region: string;
  state: 'none' | 'recording' | 'saved';
  /** Of what was saved. */
  pages: number;
  bytes: number;
  /** Of these, used again after they came. */
  hotPages: number;
  /** Neighbours count as one. */
  runs: number;
  /** When, as ISO 8601; null while nothing is. */
  savedAt: string | null;
  /** Of a recording: until it is saved. */
  leftMs: number | null;
  /** The last one of this process. */
  replay?: PrefetchReply | undefined;
  /** Why its file is not used, or was not written. */
  error?: ToldError | undefined;
}

/** Neighbouring pages of which the same is true. */
export interface ProvenanceRun {
  /** In bytes. */
  offset: number;
  length: number;
  /**
   * `untouched`: not here, never written, filled by the next touch; `filled` with a value; from
   * the `file`; from `elsewhere`, pulled or read; `kept`: in the own file of a copy since before
   * the last start, pulled or written then; `dirty`; `written-back`: written here, and its store
   * has it; `lost`.
   */
  state: 'untouched' | 'filled' | 'file' | 'elsewhere' | 'kept' | 'dirty' | 'written-back' | 'lost';
  /** Of untouched and filled pages: what the next touch brings, or the first one brought. */
  from?: 'zero' | 'one' | 'file' | 'elsewhere' | undefined;
  /** Where the newest bytes are, unless only where they come from has them. */
  place?: 'memory' | 'tier' | undefined;
}

/** What an invalidation did. */
export interface InvalidateReply {
  region: string;
  /** That are absent now and were not. */
  pagesInvalidated: number;
  /** Written back for it. */
  pagesWritten: number;
  elapsedMs: number;
}

/** What an appliance found when it started, before anybody touched a region. */
export interface StartReport {
  /** How the process before ended; `clean` where there was none. */
  start: 'clean' | 'unclean';
  /** That it has. */
  regions: number;
  /** Regions of which the memory directory has memory; null without one. */
  inMemory: number | null;
  /** Kept files of no region: left as they are. */
  orphans: { file: string; bytes: number }[];
  /** Regions whose saved working set is not used, and why. */
  workingSets: { region: string; problem: string }[];
}
