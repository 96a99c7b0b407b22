/** What a region's syncs have made durable, as its clients hear of it. */
import { rmSync } from 'node:fs';
import type { Receipt, RegionStat, RestartReceipt } from '../control/schema.js';
import type { AdoptionReport } from '../native/binding.js';
import { receiptOf, type WrittenBack } from './group-sync.js';
import { type RestartFacts, restartFacts, restartReceiptOf } from './restart-receipt.js';
import { SyncRecord } from './sync-record.js';

/** The record of it is a file, of regions that outlive their session. */
export class RegionSyncs {
  readonly #path: string;
  #record: SyncRecord | undefined;
  #restart: RestartFacts | undefined;
  #syncedAtMs: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Compares what was found with what the last process left, and begins this one's record. */
  begin(found: AdoptionReport | null): void {
    const record = SyncRecord.open(this.#path);
    this.#restart = restartFacts(found, record);
    record.begin({ lost: this.#restart.lostSince !== null });
    this.#record = record;
  }

  /** Since the last durable one; null before the first. */
  get ageMs(): number | null {
    return this.#syncedAtMs === undefined ? null : Math.round(performance.now() - this.#syncedAtMs);
  }

  /** Counts a write-back that has ended, when it is durable, and tells. */
  async count(name: string, done: WrittenBack): Promise<Receipt> {
    const receipt = receiptOf(name, done);
    if (!receipt.durable) return receipt;
    this.#syncedAtMs = performance.now();
    const record = this.#record;
    if (record === undefined) return receipt;
    // The data is durable; the count becomes so before anybody hears of it.
    const epoch = receipt.pagesWritten > 0 ? await record.advance() : record.epoch;
    // Also one that another sync of the same pages has just made.
    await record.settled();
    return { ...receipt, epoch };
  }

  /**
   * Settles once a loss of power from now on would be known as a loss: who is given the region to
   * write to waits for it. At once for a new one, of whose syncs nobody has heard.
   */
  async marked(): Promise<void> {
    if (this.#record?.fresh !== false) return;
    await this.#record.settled().catch(() => {}); // The next sync says what is wrong.
  }

  /** What the last start found of the region. */
  restartReceipt(stat: RegionStat): RestartReceipt {
    return restartReceiptOf(stat, { facts: this.#restart, syncs: this.#record });
  }

  /** It is closed, with all that was written in its store, or some of it in memory alone. */
  end(how: { inMemory: boolean }): void {
    try {
      this.#record?.end(how);
    } catch {} // The mark stays: the next start takes it for one that may have lost something.
  }

  /** Deletes the file. */
  forget(): void {
    rmSync(this.#path, { force: true });
  }
}
