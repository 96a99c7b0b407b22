/** Syncs of several regions: those that are atomic as one transaction, the others one by one. */
import { contextOf } from '../control/codes.js';
import type { Receipt } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { WriteBackReceipt } from '../native/binding.js';
import type { Range } from './range.js';
import type { Region } from './region.js';
import type { SyncJournal } from './sync-journal.js';

/** What a write-back did, and the transaction that it was a part of. */
export interface WrittenBack extends WriteBackReceipt {
  readonly durable: boolean;
  readonly transaction?: number;
}

/** The receipt of a write-back of one region, without its epoch. */
export function receiptOf(region: string, written: WrittenBack): Receipt {
  const { pagesWritten, bytesWritten, elapsedNs, durable, transaction } = written;
  const elapsedMs = Math.round(elapsedNs / 1e3) / 1e3;
  const part = transaction !== undefined && { transaction };
  return { region, pagesWritten, bytesWritten, durable, elapsedMs, ...part };
}

/** Why a region was not written back: what the system said names none. */
export function failureOf(region: string, error: unknown): unknown {
  if (!(error instanceof FarpageError)) return error;
  const said = contextOf(error);
  const what = said === '' ? region : `${region}: ${said}`;
  return new FarpageError(error.code, what, { cause: error });
}

/** Syncs atomic regions wholly or not at all, at one instant; their receipts in the same order. */
export async function syncAtomically(
  journal: SyncJournal,
  regions: readonly Region[],
  range: Range,
): Promise<Receipt[]> {
  const done = journal.sync(regions.map((region) => region.member(range)));
  return await Promise.all(
    regions.map((region, index) =>
      region.settle(
        done.then(({ members, transaction }) => {
          const nothing = { pagesWritten: 0, bytesWritten: 0, elapsedNs: 0 };
          return { ...(members[index] ?? nothing), durable: true, transaction };
        }),
      ),
    ),
  );
}

/**
 * Syncs regions; the atomic ones of them come first. One that is named twice is written once, and
 * its second receipt says so.
 */
export async function syncTogether(
  journal: SyncJournal,
  regions: readonly Region[],
  range: Range,
): Promise<Receipt[]> {
  const receipts = new Map<Region, Receipt>();
  const atomic = [...new Set(regions)].filter(({ record }) => record.atomic);
  const told = atomic.length > 0 ? await syncAtomically(journal, atomic, range) : [];
  for (const [index, region] of atomic.entries()) {
    const receipt = told[index];
    if (receipt !== undefined) receipts.set(region, receipt);
  }
  for (const region of regions) {
    if (receipts.has(region)) continue;
    receipts.set(region, await region.writeBack({ ...range, durable: true }));
  }
  return regions.flatMap((region, at) => {
    const receipt = receipts.get(region);
    if (receipt === undefined) return [];
    const again = regions.indexOf(region) !== at;
    return again ? { ...receipt, pagesWritten: 0, bytesWritten: 0 } : receipt;
  });
}
