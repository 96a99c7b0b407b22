/** Atomic syncs and their journal, as the native half has them. */
import type { PagerHandle } from './pager.js';
import type { RegionHandle } from './region.js';
import type { WriteBackReceipt } from './region-options.js';

/** A range of an atomic region. */
export interface SyncMember {
  readonly region: RegionHandle;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** What an atomic sync did: its members in their order, and its number (0: nothing was dirty). */
export interface AtomicReceipt {
  readonly members: readonly WriteBackReceipt[];
  readonly transaction: number;
}

/** What recovery did for one file of a committed sync. */
export interface RecoveredFile {
  readonly path: string;
  readonly pages: number;
  readonly bytes: number;
  /** Code of why it could not be written: its part is kept, and waits for it. */
  readonly failure: string | null;
}

export interface JournalBinding {
  /**
   * Opens the journal of a pager's atomic syncs, or makes it, and writes what it holds to the files
   * that it names. A damaged one tells where, and nothing was written to the files of any.
   */
  pagerOpenJournal(
    pager: PagerHandle,
    options: { path: string },
  ): {
    damage: { readonly path: string; readonly at: number } | null;
    recovered: readonly RecoveredFile[];
  };
  /** Paths of files that a part of a committed sync waits for. */
  pagerJournalWaiting(pager: PagerHandle): readonly string[];
  /** Forgets what waits for a file; returns how many pages that were. */
  pagerJournalAbandon(pager: PagerHandle, options: { path: string }): number;
  /** Syncs ranges of atomic regions as one transaction. */
  pagerSyncAtomically(pager: PagerHandle, members: readonly SyncMember[]): Promise<AtomicReceipt>;
}
