/** What a region's syncs have made durable, as its clients hear of it. */
import { existsSync, rmSync } from 'node:fs';
import type { Receipt, RegionStat, RestartReceipt } from '../control/schema.js';
import type { AdoptionReport } from '../native/binding.js';
import { receiptOf, type WrittenBack } from './group-sync.js';
import { type RestartFacts, restartFacts, restartReceiptOf } from './restart-receipt.js';
import { type Lives, SyncRecord } from './sync-record.js';

/** Of a region that no process has had open. */
const FIRST_LIVES: Lives = { life: 0, nextLife: 1 };

/** Whether a sync of the region was ever durable, as is known apart from its record. */
export interface SyncMemo {
  synced(): boolean;
  /** One was. */
  remember(): void;
}

/** The record of it is a file, of regions that outlive their session. */
export class RegionSyncs {
  readonly #path: string;
  readonly #memo: SyncMemo;
  #record: SyncRecord | undefined;
  /** As it was read for `lives`, until it begins. */
  #found: SyncRecord | undefined;
  /** No process finds again what is written to it from now on, and the record says so. */
  #disowned = false;
  #restart: RestartFacts | undefined;
  #syncedAtMs: number | undefined;

  constructor(path: string, memo: SyncMemo) {
    this.#path = path;
    this.#memo = memo;
  }

  /**
   * Of memory that a process before may have left; who only reads the region `begins` none. Makes
   * no record where there is none.
   */
  lives({ begins }: { begins: boolean }): Lives {
    const synced = this.#memo.synced();
    const some = synced || existsSync(this.#path);
    this.#found = some ? SyncRecord.open(this.#path, { synced }) : undefined;
    const { life, nextLife } = this.#found?.lives ?? FIRST_LIVES;
    return { life, nextLife: begins ? nextLife : life };
  }

  /**
   * Compares what was found with what the last process left, and begins this one's record; `found`
   * is null without memory that outlives the process.
   */
  begin(found: AdoptionReport | null): void {
    const record = this.#found ?? SyncRecord.open(this.#path, { synced: this.#memo.synced() });
    this.#restart = restartFacts(found, record);
    this.#disowned = found !== null || record.fresh;
    record.begin({
      lost: this.#restart.lostSince !== null,
      renewed: found !== null,
      written: found?.outcome === 'adopted' || found?.outcome === 'conflict',
    });
    this.#record = record;
    this.#found = undefined;
  }

  /** Somebody may write to it from now on: memory that an earlier process left is old. ERR_IO. */
  writable(): void {
    this.#record?.writable({ disown: !this.#disowned });
    this.#disowned = true;
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
    if (epoch > 0 && !this.#memo.synced()) this.#memo.remember();
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

  /** What a client that attaches the region compares, once the appliance was started anew. */
  get known(): { epoch: number | null; lastLoss: number | null } {
    return { epoch: this.#record?.epoch ?? null, lastLoss: this.#record?.lost ?? null };
  }

  /** What the last start found of the region. */
  restartReceipt(stat: RegionStat): RestartReceipt {
    return restartReceiptOf(stat, { facts: this.#restart, syncs: this.#record });
  }

  /**
   * The same of a region that stays idle, because its record tells all that opening it would:
   * nothing begins by it. ERR_IO.
   */
  idleReceipt(stat: RegionStat, { recorded }: { recorded: boolean }): RestartReceipt {
    const some = existsSync(this.#path);
    if (!recorded || !(some || this.#memo.synced())) return this.restartReceipt(stat);
    const found = some ? SyncRecord.open(this.#path) : SyncRecord.missing(this.#path);
    const facts = restartFacts(null, found);
    const { lostSince } = facts;
    const lost = { epoch: found.epoch + 1, lost: lostSince, found: found.found };
    return restartReceiptOf(stat, { facts, syncs: lostSince === null ? found : lost });
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
