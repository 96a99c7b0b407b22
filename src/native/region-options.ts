/** Regions at the border: what they are opened with, and what is told of them. */
import type { AccountHandle } from './pager.js';

/** What a region is opened for, or whoever attaches it may do. */
export type Access = 'read-only' | 'read-write';

/** When a region is allocated, and what that is charged to. */
export interface AllocationOptions {
  /**
   * Takes no descriptor, no mapping and nothing of an account until a client first touches it; a
   * native thread allocates it then. `lengthBytes` must say how long it is.
   */
  readonly reserve?: boolean;
  /** Of the session that asked for it; by default the pager's own. */
  readonly account?: AccountHandle | undefined;
}

export interface FileRegionOptions extends AllocationOptions {
  /** Absolute path of a regular file. */
  readonly path: string;
  /** First byte of the file, a multiple of the page size. */
  readonly offset: number;
  /** Bytes to map; 0 means to the end of the file. */
  readonly lengthBytes: number;
  /** It had these bytes before: ERR_FILE_CHANGED, not ERR_RANGE, when it has them no more. */
  readonly known?: boolean;
  readonly access: Access;
  /** Lets memory pressure write dirty pages to the file. */
  readonly writeBehind: boolean;
  /** Bound on the region's own present pages in bytes; 0 means only the pager's. */
  readonly residentBytes: number;
}

/** What the pages of a staged region come from first. */
export type PageSource =
  | { readonly kind: 'zero' | 'one' }
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly offset: number;
      readonly lengthBytes: number;
      /** As in FileRegionOptions. */
      readonly known?: boolean;
    }
  | {
      readonly kind: 'remote';
      readonly lengthBytes: number;
      /** Called when a read needs a connection; answered by regionOpenDoor or regionRefuseDoor. */
      readonly needDoor: () => void;
    }
  | {
      readonly kind: 'callback';
      readonly lengthBytes: number;
      /** JavaScript takes pages as well: the region has somewhere to write back to. */
      readonly takesWrites: boolean;
      /** Every request ends within it; a whole number of 1 and more. */
      readonly timeoutMs: number;
      /** Requests under way at most, 1..64; as many again with pages to take. */
      readonly requestsMax: number;
      /** Called when there are requests to take, and not again before they were. */
      readonly ring: () => void;
    }
  /** Nothing but what `keep` has. */
  | { readonly kind: 'none' };

export interface MemoryDirectory {
  /** Absolute path of a directory on a tmpfs. */
  readonly directory: string;
  /** Names the files, `ID.memory` and `ID.table`; up to 63 characters. */
  readonly id: string;
  /** What tells one start of the machine from another; up to 63 characters. */
  readonly bootId: string;
  /** The region's life whose memory is taken, and the one that it is of from then on. */
  readonly life: number;
  readonly nextLife: number;
  /** What pagerChargeFound took for it. */
  readonly chargedPages?: number;
}

/** Pages in memory that an earlier process has left, and nobody has opened yet. */
export interface FoundPages {
  readonly present: number;
  readonly dirty: number;
}

/** What a region found in the memory directory; pages unless a name says otherwise. */
export interface AdoptionReport {
  /**
   * Nothing; all of it; another boot's or region's; that of a store that changed since; older than
   * what the region was given without it.
   */
  readonly outcome: 'made' | 'adopted' | 'discarded' | 'conflict' | 'stale';
  readonly cleanPages: number;
  readonly dirtyPages: number;
  /** Half-done fills, evictions and write-backs that were put right. */
  readonly repairedPages: number;
  /** Clean ones of a store that changed, or stale. */
  readonly droppedPages: number;
  /** Dirty ones of such a store, or stale: the region has lost them, `conflictFile` has them. */
  readonly conflictPages: number;
  /** The first 64 runs of these, as [offset, length] in bytes. */
  readonly conflicts: readonly (readonly [number, number])[];
  /** Each page at its offset; empty without a conflict. */
  readonly conflictFile: string;
}

/** Where the pages of a copy are read; the ticket is good for one connection. */
export interface SourceDoor {
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  readonly ticket: Uint8Array;
  readonly stag: number;
}

/** Pages that JavaScript shall supply; or take, when they are here. In bytes. */
export interface PageRequest {
  readonly id: number;
  readonly offset: number;
  /** Whole pages, but for the end of the region; 1 MiB at most. */
  readonly length: number;
  /** How long somebody waits for the answer yet. */
  readonly remainingMs: number;
  /** For some of it nobody waits yet: that may take longer while it is told to be alive. */
  readonly background: boolean;
  /** What shall be taken: a copy. */
  readonly bytes?: Uint8Array;
}

export interface StagedRegionOptions extends AllocationOptions {
  readonly lengthBytes: number;
  readonly access: Access;
  readonly residentBytes: number;
  readonly source: PageSource;
  /** The appliance's own sparse file over the source; what it has is read from it. */
  readonly keep?: string | undefined;
  /** Makes that file when it is missing. */
  readonly make?: boolean;
  /** Only syncs write its store, each wholly or not at all. */
  readonly atomic?: boolean;
  /** Memory and page table in two files of a tmpfs, so that they outlive the process. */
  readonly memory?: MemoryDirectory | undefined;
}

/** One region's figures; pages unless a name says otherwise. */
export interface RegionStats {
  readonly size: number;
  readonly pageSize: number;
  /** Virtual address of byte 0; 0 while it has none. */
  readonly address: bigint;
  /** Its size once it has been allocated, else 0. */
  readonly allocatedBytes: number;
  /** Code of the last try to allocate it, if that failed. */
  readonly failure: string | null;
  /** Code of the last write-back if it left pages dirty, whoever asked for it. */
  readonly writeBackFailure: string | null;
  readonly totalPages: number;
  /** Of pinned ranges, present or not. */
  readonly pinnedPages: number;
  readonly presentPages: number;
  readonly dirtyPages: number;
  readonly writtenPages: number;
  readonly lostPages: number;
  /** Whose newest bytes are in a tier that cannot be reached now. */
  readonly unreachablePages: number;
  /** Whose newest bytes are in a tier. */
  readonly elsewherePages: number;
  /** Bound on present pages, and present pages now. */
  readonly maxFrames: number;
  readonly usedFrames: number;
  /** Pages of tables that it takes beside them. */
  readonly tablePages: number;
  /** Operations that met only present pages, and those that met an absent one. */
  readonly bypassedOperations: number;
  readonly faultedOperations: number;
  /** Bytes that all of them carried. */
  readonly operationBytes: number;
  readonly filledPages: number;
  readonly filledBytes: number;
  /** Pages that were really read from a device or a peer; fill values are not. */
  readonly readPages: number;
  /** Whether a connection to a source elsewhere stands. */
  readonly sourceConnected: boolean;
  readonly writtenBackPages: number;
  readonly writtenBackBytes: number;
}

/** What a range of a region permits, at most. */
export type Permission = 'none' | 'read' | 'read-write';

/** A range in bytes that permits less than its region does. */
export interface ProtectedRange {
  readonly offset: number;
  readonly length: number;
  readonly access: Permission;
}

/** A range in bytes whose pages stay in memory. */
export interface PinnedRange {
  readonly offset: number;
  readonly length: number;
}

/** What an invalidation or a reclaim did. */
export interface InvalidateReceipt {
  /** That are absent now and were not. */
  readonly pages: number;
  /** Dirty ones that stay, or for which it was refused. */
  readonly dirtyPages: number;
  /** That stay because they are pinned. */
  readonly pinnedPages: number;
  /** Still on their way in or out. */
  readonly busyPages: number;
  /** Until the fabric had forgotten them; the rest is giving their memory back. */
  readonly shootdownNs: number;
  readonly elapsedNs: number;
}

/** What a flush or sync did. */
export interface WriteBackReceipt {
  readonly pagesWritten: number;
  readonly bytesWritten: number;
  readonly elapsedNs: number;
}
