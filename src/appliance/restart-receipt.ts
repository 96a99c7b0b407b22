/** What a start found of a region: kept, restored, filled, lost, in conflict. */
import type { RegionStat, RestartReceipt } from '../control/schema.js';
import type { AdoptionReport } from '../native/binding.js';
import type { SyncRecord } from './sync-record.js';

/** What is known of a region's syncs: their count, and the last whose later writes were lost. */
export interface SyncsKnown {
  readonly epoch: number;
  readonly lost: number | null;
  readonly found: RestartReceipt['syncRecord'];
}

/** What is known once the region has been opened, and does not change afterwards. */
export interface RestartFacts {
  readonly start: RestartReceipt['start'];
  readonly adoption: AdoptionReport | null;
  /** The sync whose later writes this start found lost. */
  readonly lostSince: number | null;
}

/** Of a region in the memory directory that nobody has allocated yet. */
export const NOTHING_FOUND: AdoptionReport = {
  outcome: 'made',
  cleanPages: 0,
  dirtyPages: 0,
  repairedPages: 0,
  droppedPages: 0,
  conflictPages: 0,
  conflicts: [],
  conflictFile: '',
};

/**
 * A process that died with the region open has lost what came after the last sync, unless nobody
 * could write or the memory directory has it; and so has one that left it there, and the machine
 * was started again. What is a conflict there is named, not lost without a word. What is stale
 * there has nothing of the process that was last.
 */
export function restartFacts(adoption: AdoptionReport | null, syncs: SyncRecord): RestartFacts {
  if (syncs.fresh) return { start: 'first', adoption, lostSince: null };
  const kept = adoption?.outcome === 'adopted' || adoption?.outcome === 'conflict';
  const unsaved = (syncs.unclean && syncs.written) || syncs.inMemory;
  const lostSince = unsaved && !kept ? syncs.epoch : null;
  return { start: syncs.unclean ? 'unclean' : 'clean', adoption, lostSince };
}

/** The receipt as it stands now: pages are restored and filled as they are touched. */
export function restartReceiptOf(
  stat: RegionStat,
  known: { facts: RestartFacts | undefined; syncs: SyncsKnown | undefined },
): RestartReceipt {
  const { facts, syncs } = known;
  const adoption = facts?.adoption;
  const { pages, read } = stat.fills;
  // Of a mapped region all pages are the file's, though the kernel reads them.
  const restored = stat.kind === 'mapped' ? pages : read;
  return {
    region: stat.name,
    persist: stat.persist,
    start: facts?.start ?? 'first',
    memory: adoption?.outcome ?? null,
    kept: {
      clean: adoption?.cleanPages ?? 0,
      dirty: adoption?.dirtyPages ?? 0,
      repaired: adoption?.repairedPages ?? 0,
      dropped: adoption?.droppedPages ?? 0,
    },
    restored,
    filled: pages - Math.min(restored, pages),
    epoch: syncs?.epoch ?? 0,
    syncRecord: syncs?.found ?? 'whole',
    lostSince: facts?.lostSince ?? null,
    lastLoss: syncs?.lost ?? null,
    conflicts: {
      pages: adoption?.conflictPages ?? 0,
      runs: adoption?.conflicts.map(([offset, length]) => ({ offset, length })) ?? [],
      ...(adoption?.conflictFile && { file: adoption.conflictFile }),
    },
  };
}
