/**
 * All that crosses the border between TypeScript and C++. `load.ts` is the only file that loads
 * the addon; everything native is reached through the interface below.
 *
 * Lengths, offsets and counts are safe-integer numbers of bytes or pages; addresses are bigint;
 * 64-bit operands travel in a BigUint64Array. Native failures throw (or reject with) a
 * `NativeFailure`, which `load.ts` turns into the `FarpageError` with the same code.
 */

import type { JournalBinding } from './journal.js';
import type { PrefetchBinding } from './prefetch.js';
import type { ProvenanceBinding } from './provenance.js';
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

export type * from './journal.js';
export type * from './prefetch.js';
export type * from './region-options.js';

declare const tag: unique symbol;
export type PagerHandle = object & { readonly [tag]: 'pager' };
export type RegionHandle = object & { readonly [tag]: 'region' };
export type AccountHandle = object & { readonly [tag]: 'account' };
export type NicHandle = object & { readonly [tag]: 'nic' };
export type ProtectionDomainHandle = object & { readonly [tag]: 'protectionDomain' };
export type MemoryRegionHandle = object & { readonly [tag]: 'memoryRegion' };
export type QueuePairHandle = object & { readonly [tag]: 'queuePair' };

/** What a native call throws: plain properties, so that both sides need no common class. */
export interface NativeFailure extends Error {
  /** A key of the registry in `errors.ts`. */
  readonly code: string;
  /** The system's errno, 0 where no system call was involved. */
  readonly errno: number;
  /** The system call or step that failed. */
  readonly context: string;
}

export type Access = 'read-only' | 'read-write';

/** A level below memory. */
export type TierOptions =
  | { readonly kind: 'compressed'; readonly capacityBytes: number }
  | {
      readonly kind: 'file';
      /** Where its unnamed file is made. */
      readonly directory: string;
      readonly capacityBytes: number;
      /** Made when the first page comes; a failure is that page's. */
      readonly later?: boolean;
    }
  | {
      readonly kind: 'appliance';
      /** URL of the region at another appliance, for people. */
      readonly pool: string;
      /** At most; 0: all of the region. */
      readonly capacityBytes: number;
      /** Called when a connection is needed; answered by tierOpenDoor or tierRefuseDoor. */
      readonly needDoor: () => void;
    };

/** Where a pool is reached, and what it is; earlier doors let nothing through any more. */
export type PoolDoor = SourceDoor & {
  readonly lengthBytes: number;
  /** Another pool than behind the last door: nothing of what was put there is left. */
  readonly fresh: boolean;
};

/** One tier's figures; pages unless a name says otherwise. */
export interface TierStats {
  readonly kind: 'compressed' | 'file' | 'appliance';
  /** Of a pool: its URL, how the connection is, and the code of why it last went away, or OK. */
  readonly pool?: string;
  readonly state?: 'connecting' | 'connected' | 'away';
  readonly reason?: string;
  /** 0 of a pool that was not seen yet, or is gone. */
  readonly capacityBytes: number;
  readonly usedBytes: number;
  /** That it holds now. */
  readonly pages: number;
  /** That came in from memory; that went back there; that went on to the next tier. */
  readonly storedPages: number;
  readonly loadedPages: number;
  readonly demotedPages: number;
  /** That came back other than they went in. */
  readonly lostPages: number;
}

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

export interface NicOptions {
  /** Event loops; each connection belongs to one. */
  readonly threads: number;
  /** How long a loop polls after activity before it sleeps, in microseconds; 0 never polls. */
  readonly pollUs: number;
  /** Connections over all listeners; further ones are closed at accept. */
  readonly connectionsMax: number;
}

export interface NicStats {
  readonly connections: number;
  readonly accepted: number;
  readonly refused: number;
  readonly terminated: number;
  readonly operations: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface ExportOptions {
  readonly host: string;
  readonly port: number;
}

export interface ConnectOptions {
  /** Exactly one of `path` (a Unix socket) and `host` with `port`. */
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  /** The 16-byte ticket of the session; absent for ports of `farpage export`. */
  readonly ticket?: Uint8Array;
  /** Asks for CRC32C on every FPDU. */
  readonly crc: boolean;
  /** Requests in flight at most, 1..128 (the IRD that is asked for). */
  readonly depth: number;
  /** Bound on connecting and the MPA handshake together. */
  readonly timeoutMs: number;
}

/**
 * One initiator queue pair as JavaScript drives it. Requests are written as records into
 * `requests` and posted in batches; completions come back as records in `completions`.
 *
 * A request record is 64 bytes: f64[0] opcode, f64[1] slot (the caller's id, 0..slots-1),
 * f64[2] STag, f64[3] remote offset, f64[4] length in bytes, f64[5] staging offset or -1 when an
 * own buffer was attached to the slot with `queuePairAttach`, u64[6] and u64[7] the operands of
 * an atomic (add; or compare and swap).
 * A completion record is 32 bytes: f64[0] slot, f64[1] index of its code in `errorCodes`
 * (0 is success), f64[2] the RDMAP layer<<16 | type<<8 | code of a Terminate or -1,
 * u64[3] the old value of an atomic.
 */
export interface QueuePair {
  readonly handle: QueuePairHandle;
  /**
   * Posts the first `count` request records in one send, then polls up to `spinUs` for answers.
   * Returns the number of completion records to take now. Throws what a broken rule of ours brings.
   */
  readonly submit: (count: number, spinUs: number) => number;
  readonly requests: ArrayBuffer;
  readonly completions: ArrayBuffer;
  /** Memory that small READs land in and small WRITEs are sent from. */
  readonly staging: ArrayBuffer;
  /** Slots, thus requests not yet completed, at most. */
  readonly slots: number;
  /** What the responder granted: READs and atomics outstanding at most. */
  readonly depth: number;
}

export const OPCODE = { read: 0, write: 1, fetchAdd: 2, compareSwap: 3 } as const;

export interface NativeBinding extends PrefetchBinding, ProvenanceBinding, JournalBinding {
  readonly bindingVersion: number;
  /** Names of the native codes in the order of their numbers; index 0 is "OK". */
  readonly errorCodes: readonly string[];
  readonly pageBytes: number;

  pagerOpen(options: PagerOptions): PagerHandle;
  pagerStats(pager: PagerHandle): PagerStats;
  /** Idempotent; its regions must be closed. Returns after its threads have been joined. */
  pagerClose(pager: PagerHandle): void;

  /** What allocations of one session are charged to, beside the pager's bound. */
  accountOpen(pager: PagerHandle, options: { bytesMax: number }): AccountHandle;

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
  /** Whether an unnamed file can be made in a directory; none is left open. */
  canSpillTo(directory: string): boolean;
  pagerTiers(pager: PagerHandle): readonly TierStats[];
  /** The door that a tier at another appliance asked for; its index counts all tiers. */
  tierOpenDoor(pager: PagerHandle, index: number, door: PoolDoor): void;
  /** No door; ERR_SOURCE_CHANGED: the pool is gone, and what was there is lost. */
  tierRefuseDoor(pager: PagerHandle, index: number, code: string): void;
  /**
   * The same as reclaim, and dirty pages go into the tiers; how many went. With `coldMs` only what
   * nobody has used for so long, a multiple of `ageTickMs` up to `ageMaxMs`.
   */
  regionDemote(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; coldMs: number },
  ): Promise<{ readonly pages: number; readonly pinnedPages: number }>;
  /** Brings pages back from the tiers as far as there is memory; how many came. */
  regionPromote(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number },
  ): Promise<number>;
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

  nicOpen(pager: PagerHandle, options: NicOptions): NicHandle;
  /** Returns the port that was bound. Connections need a ticket. */
  nicListenTcp(nic: NicHandle, options: { host: string; port: number }): number;
  nicListenUnix(nic: NicHandle, path: string): void;
  nicStats(nic: NicHandle): NicStats;
  /** Idempotent. Stops accepting, ends every connection, joins the event loops. */
  nicClose(nic: NicHandle): void;

  protectionDomainOpen(nic: NicHandle, options: { connectionsMax: number }): ProtectionDomainHandle;
  /** A 16-byte ticket lets connections into the domain; unused it ends after `lifetimeMs`. */
  protectionDomainAdmit(
    domain: ProtectionDomainHandle,
    options: { ticket: Uint8Array; lifetimeMs: number },
  ): void;
  /** Registers a live mapping of this environment by its virtual address. */
  protectionDomainRegister(
    domain: ProtectionDomainHandle,
    options: { address: bigint; lengthBytes: number; access: Access },
  ): { handle: MemoryRegionHandle; stag: number };
  /**
   * Registers a region that has been opened, from its first byte on, whether it is allocated or
   * only reserved: the STag stays the same when it is allocated.
   */
  protectionDomainReserve(
    domain: ProtectionDomainHandle,
    options: { region: RegionHandle; lengthBytes: number; access: Access },
  ): { handle: MemoryRegionHandle; stag: number };
  /** Idempotent; after one grace period no operation can use the STag. */
  memoryRegionDeregister(memoryRegion: MemoryRegionHandle): void;
  /** Connections of the domain now. */
  protectionDomainConnections(domain: ProtectionDomainHandle): number;
  /** Idempotent. Deregisters what it holds, then ends its connections. */
  protectionDomainClose(domain: ProtectionDomainHandle): void;
  /**
   * A port without tickets whose MPA reply describes one memory region in librpma's layout.
   * Returns the port that was bound. Ends with its domain.
   */
  exportListen(
    domain: ProtectionDomainHandle,
    options: ExportOptions & { memoryRegion: MemoryRegionHandle },
  ): number;

  /** Connects on a worker thread; `onReady` is called with the number of completions to take. */
  queuePairConnect(
    options: ConnectOptions,
    onReady: (completions: number) => void,
  ): Promise<QueuePair>;
  /** Attaches memory of the caller's to a slot until the slot's completion has been taken. */
  queuePairAttach(queuePair: QueuePairHandle, slot: number, memory: Uint8Array): void;
  /** Waits up to `timeoutUs` for at least one completion; 0 only looks. */
  queuePairWait(queuePair: QueuePairHandle, timeoutUs: number): number;
  /** Idempotent. Requests in flight are dropped without a completion: the caller ends them. */
  queuePairClose(queuePair: QueuePairHandle): void;

  /** Blocks the calling thread; for tests of what goes on meanwhile. */
  blockThread(milliseconds: number): void;
  /** Whether another open file description, or process, holds a lock on the file of `fd`. */
  fileLocked(fd: number): boolean;
  /** CPU time of every thread of the process: name and nanoseconds. */
  threadTimes(): { name: string; cpuNs: number }[];
}
