/** One region: its record, and once somebody touches it, the native region behind it. */
import type { PrefetchReply, Receipt, RegionStat, RestartReceipt } from '../control/schema.js';
import { FarpageError, isErrorCode } from '../errors.js';
import type { MemoryRegion } from '../fabric/memory-region.js';
import type { ProtectionDomain } from '../fabric/protection-domain.js';
import type {
  Access,
  AccountHandle,
  PagerHandle,
  RegionHandle,
  SyncMember,
} from '../native/binding.js';
import { native } from '../native/load.js';
import { Carving } from './carving.js';
import { CopySource } from './copy-source.js';
import type { FileClaims } from './file-claims.js';
import { FoundMemory } from './found-memory.js';
import { failureOf, syncAtomically, type WrittenBack } from './group-sync.js';
import { openNative } from './open-native.js';
import type { PageCallbacks } from './page-callbacks.js';
import { Prefetches } from './prefetches.js';
import { boundsOf, type Range } from './range.js';
import { isCopy, isKept, noSinkOf, pinnedPagesMax, type RegionRecord } from './record.js';
import { describe, figuresOf, stateOf, unwrittenOf } from './region-figures.js';
import { identityOf, lineageOf } from './region-identity.js';
import { RegionKeeping } from './region-keeping.js';
import type { RegionOptions } from './region-options.js';
import { RegionPages } from './region-pages.js';
import { RegionSyncs } from './region-syncs.js';
import { NOTHING_FOUND } from './restart-receipt.js';
import type { SyncJournal } from './sync-journal.js';
import { TenureRecord } from './tenure-record.js';
import { WorkingSet } from './working-set.js';

interface Opened {
  readonly handle: RegionHandle;
  readonly release: () => void;
  /** A client's first touch allocates it. */
  readonly reserve: boolean;
}

/**
 * A region stays *idle* until it is first used, so that a start with a thousand of them costs
 * nothing. One without a file of the user's is only *reserved* then: a client's first touch
 * allocates it, of which nothing is heard here. One whose file is gone, or for which there was no
 * room, is *unavailable*, and tried again at the next use.
 */
export class Region {
  readonly prefetches: Prefetches;
  readonly syncs: RegionSyncs;
  #record: RegionRecord;
  /** The session that an unnamed region belongs to. */
  readonly owner: string | undefined;
  readonly carving: Carving;
  readonly #pager: PagerHandle;
  readonly #claims: FileClaims;
  readonly #keeping: RegionKeeping;
  readonly #journal: SyncJournal;
  readonly #account: AccountHandle | undefined;
  readonly #supply: () => PageCallbacks | undefined;
  #fresh: boolean;
  readonly #source = new CopySource();
  readonly #found: FoundMemory;
  /** Its pages, a range at a time. */
  readonly pages: RegionPages;
  readonly workingSet: WorkingSet;
  readonly #running = new Set<Promise<unknown>>();
  #opened: Opened | undefined;
  #identity: string | undefined;
  #pages: PageCallbacks | undefined;
  #failure: FarpageError | undefined;
  #removing = false;

  constructor(options: RegionOptions) {
    this.#record = options.record;
    this.prefetches = new Prefetches(options.record.name);
    this.owner = options.owner;
    this.#pager = options.pager;
    this.#claims = options.claims;
    this.#keeping = new RegionKeeping({
      record: () => this.record,
      owned: options.owner !== undefined,
      folder: options.keepFolder,
      memory: options.memory,
    });
    const tenure = this.#keeping.outlives && new TenureRecord(this.#keeping.fileOf('carving'));
    this.carving = new Carving(options.record.name, tenure || undefined, options.fresh);
    this.#found = new FoundMemory(options.pager, this.#keeping);
    this.syncs = new RegionSyncs(this.#keeping.fileOf('sync'), {
      synced: () => this.#record.synced === true,
      remember: () => options.keepSoon(this.#keep({ synced: true })),
    });
    this.#account = options.account;
    this.#supply = options.supply ?? (() => undefined);
    this.#journal = options.journal;
    this.#fresh = options.fresh;
    this.workingSet = new WorkingSet({
      path: this.#keeping.fileOf('set'),
      record: () => this.record,
      prefetches: this.prefetches,
      track: (work) => this.#track(work),
    });
    this.pages = new RegionPages({
      record: () => this.record,
      opened: () => this.#opened?.handle,
      open: () => this.open(),
      pager: () => native().pagerStats(this.#pager),
      keptPath: () => (isKept(this.record) ? this.#keeping.path : ''),
      track: (work) => this.#track(work),
      sync: async (range) => (await this.writeBack({ ...range, durable: true })).pagesWritten,
      keep: (said) => void this.#keep(said),
    });
  }

  get record(): RegionRecord {
    return this.#record;
  }

  /** Opens it unless it is open. ERR_REGION_REMOVED, ERR_REGION_BUSY, ERR_FILE_*, ERR_RANGE. */
  open(): RegionHandle {
    if (this.#removing) throw new FarpageError('ERR_REGION_REMOVED', this.record.name);
    if (this.#opened !== undefined) return this.#opened.handle;
    try {
      const release = this.#claims.claim(this.record);
      try {
        const reserve = this.#keeping.reserves;
        if (!this.#fresh) this.#keeping.look();
        const handle = this.#found.handOver(this.#openNative(reserve));
        try {
          native().regionRestoreProtection(handle, this.record.protection ?? []);
          const pagesMax = pinnedPagesMax(this.record);
          native().regionRestorePins(handle, this.record.pins ?? [], { pagesMax });
          this.#begin(handle);
          if (!reserve && 'path' in this.record.source) this.#identity = this.identity;
        } catch (error) {
          native().regionClose(handle);
          this.#found.charge();
          throw error;
        }
        this.#opened = { handle, release, reserve };
      } catch (error) {
        release();
        throw error;
      }
      this.#failure = undefined;
      this.#fresh = false;
      this.workingSet.begin(this.#opened.handle);
      return this.#opened.handle;
    } catch (error) {
      if (error instanceof FarpageError) this.#failure = error;
      throw error;
    }
  }

  /**
   * Registers its address with a domain, or where there is none yet its reservation; ERR_ACCESS
   * when it permits less.
   */
  register(domain: ProtectionDomain, access: Access): MemoryRegion {
    const { name, size } = this.record;
    if (access === 'read-write' && this.record.access === 'read-only') {
      throw new FarpageError('ERR_ACCESS', `${name} is read-only`);
    }
    const handle = this.open();
    if (access === 'read-write') this.syncs.writable();
    const common = { lengthBytes: size, access };
    const { address } = native().regionStats(handle);
    // One that was idle may have lost its address: the STag leads to the region all the same.
    if (this.#opened?.reserve || address === 0n) {
      return domain.reserve({ ...common, region: handle });
    }
    return domain.register({ ...common, address });
  }

  /**
   * 128 bits that change when the name stands for other contents, as far as that can be told. One
   * that has its file keeps it, whatever is at the path later. ERR_FILE_NOT_FOUND.
   */
  get identity(): string {
    return this.#identity ?? identityOf(this.record, { persists: this.persists });
  }

  /** The same, but that losing its contents changes nothing. */
  get lineage(): string {
    return this.#identity ?? lineageOf(this.record);
  }

  /**
   * Writes back what is dirty in the range; with `durable` also fdatasync. What nothing keeps is
   * never durable, and counts no sync. ERR_UNSUPPORTED with the reason where a source takes none.
   */
  async writeBack(range: Range & { durable: boolean }): Promise<Receipt> {
    const { durable } = range;
    const { name, atomic } = this.record;
    if (atomic) {
      const why = `flush of ${name}: it is atomic, and only a sync writes it`;
      if (!durable) throw new FarpageError('ERR_ARGUMENT', why);
      const [receipt] = await syncAtomically(this.#journal, [this], range);
      if (receipt !== undefined) return receipt;
    }
    const bounds = boundsOf(this.record, range);
    const noSink = noSinkOf(this.record);
    if (noSink !== undefined) throw new FarpageError('ERR_UNSUPPORTED', noSink);
    const done = native().regionWriteBack(this.open(), { ...bounds, durable });
    const lasts = durable && this.persists;
    return await this.settle(done.then((written) => ({ ...written, durable: lasts })));
  }

  /** What a sync of several regions needs of this one. */
  member(range: Range): SyncMember {
    return { region: this.open(), ...boundsOf(this.record, range) };
  }

  /** Waits for a write-back of it, counts it when it is durable, and tells; failures name it. */
  async settle(work: Promise<WrittenBack>): Promise<Receipt> {
    const { name } = this.record;
    try {
      const both = Promise.all([work, this.carving.kept()]);
      return await this.#track(both.then(([done]) => this.syncs.count(name, done)));
    } catch (error) {
      throw failureOf(name, error);
    }
  }

  /** What the last start found of it; opens it where only that can tell. As `open` fails. */
  restartReceipt(): RestartReceipt {
    if (this.#opened === undefined && !this.#removing && this.#keeping.isSilent) {
      return this.syncs.idleReceipt(this.stat(), { recorded: this.#keeping.isRecorded });
    }
    this.open();
    return this.syncs.restartReceipt(this.stat());
  }

  /** Begins to bring the pages of the range near, or joins who does. ERR_RANGE, ERR_QUOTA. */
  prefetch(range: Range): PrefetchReply {
    const bounds = boundsOf(this.record, range);
    return this.prefetches.begin(this.open(), bounds);
  }

  /**
   * What is to be kept of a copy that needs its source no longer. Syncs it first: only what is in
   * its own file counts. ERR_SOURCE_NEEDED, ERR_ARGUMENT for what has no source to let go.
   */
  async detachable(): Promise<RegionRecord> {
    const { name, source } = this.record;
    if (!isCopy(source) || !this.persists) {
      throw new FarpageError('ERR_ARGUMENT', `${name} is no copy that is kept`);
    }
    if (source.detached) return this.record;
    await this.writeBack({ offset: 0, durable: true });
    const needed = await this.#track(native().regionNeededPages(this.open()));
    if (needed > 0) throw new FarpageError('ERR_SOURCE_NEEDED', `${needed} pages of ${name}`);
    return { ...this.record, source: { ...source, detached: true } };
  }

  #keep(said: Partial<RegionRecord>): this {
    this.#record = { ...this.#record, ...said };
    return this;
  }

  /** Becomes what `detachable` said: the session at the source ends. */
  detachSource(record: RegionRecord): void {
    this.#record = record;
    if (this.#opened !== undefined) native().regionDetachSource(this.#opened.handle);
    this.#source.close();
    this.#pages?.close();
  }

  /** What is written to it outlives the process once it is synced: it has a file. */
  get persists(): boolean {
    return this.#keeping.persists;
  }

  /** Opens it, if it can, where an earlier process has left memory of it; whether it did. */
  adopt(): boolean {
    return !this.#removing && this.#found.adopt(() => this.open());
  }

  /** Pages that a sync would write. */
  get dirtyPages(): number {
    if (this.#opened === undefined) return this.#found.left.dirty;
    return native().regionStats(this.#opened.handle).dirtyPages;
  }

  /** Where dirty pages of it are that an earlier process has left and this one has not opened. */
  get leftIn(): string | undefined {
    return this.#found.left.dirty > 0 ? this.#keeping.memoryPlace : undefined;
  }

  /** Its figures; those of an idle region are zero, but for what it has in memory all the same. */
  stat(): RegionStat {
    const figures = figuresOf(this.#opened?.handle, this.record.size, this.#found);
    const { connected, failure, unwritten, ...native } = figures;
    const { place } = this.#keeping;
    const refused = isErrorCode(failure) ? new FarpageError(failure, place) : undefined;
    const stays = unwrittenOf(unwritten, { lost: native.pages.lost, said: this.#pages?.unwritten });
    // A source that fails now and then leaves the region ready: what is here goes on.
    const away = this.#source.failure ?? this.#pages?.failure;
    const error = this.#failure ?? refused ?? stays ?? away ?? this.#keeping.crowded;
    return {
      ...describe(this.record, { connected: connected || (this.#pages?.answered ?? false) }),
      ...native,
      state: this.#removing ? 'removing' : stateOf(native, this.#opened, refused ?? this.#failure),
      syncAgeMs: this.syncs.ageMs,
      persist: this.persists,
      ...(error && { error: { code: error.code, message: error.message } }),
    };
  }

  /** The same, and for a copy how many pages need its source: a look at its file, so it opens. */
  async statNow(): Promise<RegionStat> {
    const { source } = this.record;
    if (this.#opened === undefined && !this.#removing) {
      try {
        this.#keeping.look();
      } catch (error) {
        if (error instanceof FarpageError) this.#failure = error;
      }
    }
    const untouched = this.#keeping.reserves && this.stat().state !== 'ready';
    if (!isCopy(source) || this.#removing || untouched) return this.stat();
    try {
      const needed = await this.#track(native().regionNeededPages(this.open()));
      const stat = this.stat();
      return { ...stat, ...(stat.from && { from: { ...stat.from, needed } }) };
    } catch {
      return this.stat(); // It tells why it is unavailable.
    }
  }

  /**
   * Ends it: its users' operations end with ERR_REGION_REMOVED, write-backs under way finish
   * first, dirty pages are dropped. Idempotent.
   */
  async close(): Promise<void> {
    this.#removing = true;
    await this.workingSet.end();
    await this.prefetches.cancel();
    await Promise.allSettled(this.#running);
    await this.carving.settled();
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened !== undefined) {
      const { dirtyPages, writtenPages } = native().regionStats(opened.handle);
      await native().regionEnd(opened.handle);
      // Of what nothing keeps every written page is in memory, or a tier, and ends well there.
      const unkept = this.persists ? 0 : writtenPages;
      const inMemory = unkept > 0 || (this.#keeping.usesMemory && dirtyPages > 0);
      if (inMemory || dirtyPages === 0) this.syncs.end({ inMemory });
    }
    this.#source.close();
    this.#pages?.close();
    // Its STags stay with the sessions that have them: what they try from now on shall end with
    // the region's own code, not as an unknown STag.
    opened?.release();
  }

  /** Deletes the appliance's own files of it; once it is closed. A user's file stays. */
  forget(): void {
    this.#keeping.forget();
    this.#found.release();
    this.syncs.forget();
    this.carving.forget();
    this.workingSet.forget();
  }

  /** Compares what was found with what the last process left, and begins this one's record. */
  #begin(handle: RegionHandle): void {
    if (!this.#keeping.isRecorded) return;
    const made = this.#keeping.usesMemory ? NOTHING_FOUND : null;
    this.syncs.begin(native().regionAdoption(handle) ?? made);
  }

  #openNative(reserve: boolean): RegionHandle {
    if (this.record.atomic) this.#journal.ensure();
    this.#source.open(this.record);
    this.#pages?.close();
    this.#pages = this.#supply();
    const lives = this.syncs.lives({ begins: this.#keeping.isRecorded });
    return openNative(this.#pager, {
      record: this.record,
      keptPath: this.#keeping.path,
      fresh: this.#fresh,
      memory: this.#keeping.memoryOf({ lives, chargedPages: this.#found.pages }),
      needDoor: () => void this.#source.answer(this.record, () => this.#opened?.handle),
      reserve,
      account: this.#account,
      pages: this.#pages,
    });
  }

  async #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }
}
