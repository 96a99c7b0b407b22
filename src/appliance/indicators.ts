/** Presence and permission indicators of a region's ranges: what the NIC looks at, and no more. */
import type { DirtyRule, InvalidateReply, ReclaimReply, ReclaimRule } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type {
  InvalidateReceipt,
  Permission,
  ProtectedRange,
  RegionHandle,
} from '../native/binding.js';
import { native } from '../native/load.js';
import { checkAligned } from './aligned.js';
import type { Bounds } from './range.js';
import type { RegionRecord } from './record.js';

/** The region that a function works on, as its owner knows it. */
export interface Work {
  readonly record: RegionRecord;
  readonly handle: RegionHandle;
  readonly bounds: Bounds;
  /** Writes back what is dirty in the bounds, durably; pages. */
  readonly sync: () => Promise<number>;
}

/** How often what was written again during a sync is synced once more. */
const SYNCS_MAX = 8;

const milliseconds = (elapsedNs: number) => Math.round(elapsedNs / 1e3) / 1e3;

/** What changes whole pages takes whole pages; the last one of a region may be a part. */
function checkPages({ record, bounds }: Pick<Work, 'record' | 'bounds'>): void {
  checkAligned('offset', bounds.offset);
  if (bounds.offset + bounds.lengthBytes === record.size) return;
  checkAligned('length', bounds.lengthBytes);
}

/** Permits these accesses and no others; all ranges then. ERR_ALIGNMENT, ERR_QUOTA. */
export async function protect(
  work: Omit<Work, 'sync'>,
  access: Permission,
): Promise<ProtectedRange[]> {
  checkPages(work);
  return await native().regionProtect(work.handle, { ...work.bounds, access });
}

/**
 * Makes the pages absent: the next touch fills them again. ERR_ALIGNMENT, ERR_REGION_DIRTY unless
 * the rule says what becomes of dirty ones, ERR_REGION_BUSY after 15 s of fills that do not end.
 */
export async function invalidate(work: Work, rule: DirtyRule): Promise<InvalidateReply> {
  checkPages(work);
  const { record, handle, bounds } = work;
  const dirty = rule === 'discard' ? 'discard' : 'refuse';
  let pagesWritten = 0;
  let pagesInvalidated = 0;
  let elapsedNs = 0;
  for (let syncs = 1; ; syncs += 1) {
    if (rule === 'sync') pagesWritten += await work.sync();
    const done = await native().regionInvalidate(handle, { ...bounds, dirty });
    pagesInvalidated += done.pages;
    elapsedNs += done.elapsedNs;
    if (done.busyPages > 0) {
      throw new FarpageError('ERR_REGION_BUSY', `${done.busyPages} pages of ${record.name}`);
    }
    if (done.dirtyPages === 0) break;
    // Somebody has written meanwhile, or there is nothing to write to.
    if (rule !== 'sync' || syncs === SYNCS_MAX) throw tooDirty(record, done);
  }
  const elapsedMs = milliseconds(elapsedNs);
  return { region: record.name, pagesInvalidated, pagesWritten, elapsedMs };
}

/** Gives memory back; dirty pages stay unless the rule says otherwise. */
export async function reclaim(work: Work, rule: ReclaimRule): Promise<ReclaimReply> {
  const { record, handle, bounds } = work;
  if (rule === 'discard') checkPages(work);
  const pagesWritten = rule === 'sync' ? await work.sync() : 0;
  const dirty = rule === 'discard' ? 'discard' : 'keep';
  const done = await native().regionReclaim(handle, { ...bounds, dirty });
  return {
    region: record.name,
    pagesReclaimed: done.pages,
    pagesWritten,
    pagesDirty: done.dirtyPages,
    pagesPinned: done.pinnedPages,
    shootdownMs: milliseconds(done.shootdownNs),
    elapsedMs: milliseconds(done.elapsedNs),
  };
}

function tooDirty({ name, source }: RegionRecord, { dirtyPages }: InvalidateReceipt): FarpageError {
  const plain = source.kind === 'anonymous' && !source.persist;
  const why = plain ? ', and there is no store to write them to' : '';
  return new FarpageError('ERR_REGION_DIRTY', `${name} has ${dirtyPages} there${why}`);
}
