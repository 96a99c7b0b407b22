/**
 * All that crosses the border between TypeScript and C++. `load.ts` is the only file that loads
 * the addon; everything native is reached through the interface below.
 *
 * Lengths, offsets and counts are safe-integer numbers of bytes or pages; addresses are bigint;
 * 64-bit operands travel in a BigUint64Array. Native failures throw (or reject with) a
 * `NativeFailure`, which `load.ts` turns into the `FarpageError` with the same code.
 */

import type { JournalBinding } from './journal.js';
import type { NicBinding } from './nic.js';
import type { PagerBinding } from './pager.js';
import type { PrefetchBinding } from './prefetch.js';
import type { ProvenanceBinding } from './provenance.js';
import type { QueuePairBinding } from './queue-pair.js';
import type { RegionBinding } from './region.js';
import type { TierBinding } from './tiers.js';

export type * from './journal.js';
export type * from './nic.js';
export type * from './pager.js';
export type * from './prefetch.js';
export type * from './queue-pair.js';
export { OPCODE } from './queue-pair.js';
export type * from './region.js';
export type * from './region-options.js';
export type * from './tiers.js';

/** What a native call throws: plain properties, so that both sides need no common class. */
export interface NativeFailure extends Error {
  /** A key of the registry in `errors.ts`. */
  readonly code: string;
  /** The system's errno, 0 where no system call was involved. */
  readonly errno: number;
  /** The system call or step that failed. */
  readonly context: string;
}

/** Every call of the addon, by its noun. */
export interface NativeBinding
  extends PagerBinding,
    TierBinding,
    RegionBinding,
    PrefetchBinding,
    ProvenanceBinding,
    JournalBinding,
    NicBinding,
    QueuePairBinding {
  readonly bindingVersion: number;
  /** Names of the native codes in the order of their numbers; index 0 is "OK". */
  readonly errorCodes: readonly string[];
  readonly pageBytes: number;

  /** Blocks the calling thread; for tests of what goes on meanwhile. */
  blockThread(milliseconds: number): void;
  /** Whether another open file description, or process, holds a lock on the file of `fd`. */
  fileLocked(fd: number): boolean;
  /** CPU time of every thread of the process: name and nanoseconds. */
  threadTimes(): { name: string; cpuNs: number }[];
}
