/** A region of an appliance as its client has it. */
import { checkOptions } from '../control/given-options.js';
import { provenanceRuns } from '../control/provenance.js';
import { rangeQueryOf } from '../control/range-query.js';
import type {
  DirtyRule,
  Permission,
  PrefetchReply,
  Protection,
  ProvenanceRun,
  Receipt,
  ReclaimRule,
  RegionStat,
  RestartReceipt,
} from '../control/schema.js';
import { FarpageError, isErrorCode } from '../errors.js';
import type { Access, PinnedRange } from '../native/binding.js';
import { parseAge, parseSize } from '../units.js';
import type { Attached } from './attached.js';
import { type Caller, type ClientSession, callerOf } from './client-session.js';
import { ExternalMemory } from './external-memory.js';
import { givenLimits, type Limits, limitsAmong, NO_LIMITS, pause, within } from './limits.js';
import type { FabricLink } from './reconnect.js';
import { RegionWorkingSet } from './region-working-set.js';
import { Slab } from './slab.js';
import { SlabAllocator } from './slab-allocator.js';

/** A range in bytes: the whole region unless it says otherwise. */
export interface RangeOptions extends Limits {
  readonly offset?: number;
  readonly length?: number;
}

/** By name. */
export const RANGE_KEYS: readonly string[] = ['offset', 'length'];

export interface DemoteOptions extends RangeOptions {
  /** How long nobody has used a page that goes: `30s`, `10m`, `2h`, `1d`, or milliseconds. */
  readonly cold?: string | number;
}

export interface PrefetchOptions extends RangeOptions {
  /** Until it has ended. */
  readonly wait?: boolean;
  /** Called now and then while it waits. */
  readonly onProgress?: (progress: PrefetchReply) => void;
}

/** Between two looks at how far a prefetch is. */
const LOOK_MS = 100;

/** A picture of a range: one byte for each cell, as `regionPageMap` of the border says. */
export interface PageMap {
  readonly offset: number;
  readonly length: number;
  readonly cells: Uint8Array;
}

/** A region that this client has attached, until `detach` or the client's `close`. */
export class ExternalRegion extends ExternalMemory implements AsyncDisposable {
  readonly name: string;
  readonly access: Access;
  readonly pageSize: number;
  readonly #control: Caller;
  readonly #session: ClientSession;
  #allocator: SlabAllocator | undefined;

  constructor(options: { attached: Attached; link: FabricLink; session: ClientSession }) {
    const { reply } = options.attached;
    super({ attached: options.attached, link: options.link, offset: 0, size: reply.size });
    this.name = reply.region;
    this.access = reply.access;
    this.pageSize = reply.pageSize;
    this.#control = callerOf(options.attached, options.session);
    this.#session = options.session;
  }

  /** This session has the right to carve slabs out of it. */
  get carve(): boolean {
    return this.attached.reply.carve;
  }

  /**
   * Takes a slab of `size` bytes, here and now: the appliance hears nothing of it, and the map of
   * slabs ends with this object. `align` is a power of two, 64 by default. ERR_REGION_CARVED
   * without the right to carve, ERR_SLAB_FULL.
   */
  allocate(size: number | string, options: { align?: number } = {}): Slab {
    checkOptions('options', options, ['align']);
    if (this.attached.isOver) throw this.attached.lost;
    if (!this.carve) {
      throw new FarpageError('ERR_REGION_CARVED', `${this.name} was attached without carve: true`);
    }
    this.#allocator ??= new SlabAllocator({ lengthBytes: this.size });
    const allocator = this.#allocator;
    const length = parseSize(size);
    const offset = allocator.allocate(length, options);
    this.attached.carved = true;
    const free = () => allocator.free(offset);
    return new Slab({ attached: this.attached, link: this.link, offset, size: length, free });
  }

  /** Opens a known place as a slab; it is taken from nobody. ERR_RANGE. */
  slab(place: { offset: number; length: number }): Slab {
    checkOptions('a place', place, RANGE_KEYS);
    const { offset, length } = place;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length)) {
      throw new FarpageError('ERR_ARGUMENT', 'a place: offset and length in bytes');
    }
    if (!(offset >= 0 && length >= 0 && length <= this.size - offset)) {
      throw new FarpageError('ERR_RANGE', `${offset} + ${length} in ${this.size} bytes`);
    }
    const { attached, link } = this;
    return new Slab({ attached, link, offset, size: length, free: undefined });
  }

  /**
   * Writes back what is dirty of the writes begun so far, and makes it durable. ERR_WRITES_LOST,
   * once, when a restart of the appliance has lost some of them.
   */
  async sync(options: RangeOptions = NO_LIMITS): Promise<Receipt> {
    const { limits, ...request } = this.#request(options);
    const [posted] = await ExternalRegion.#settle([this], limits);
    const call = { ...limits, ...request };
    const receipt = await this.#control.call('sync', call);
    this.#confirm(receipt, options, posted);
    return receipt;
  }

  /** The same of several regions: `call` syncs them, and their receipts come in the same order. */
  static async syncAll(
    regions: readonly ExternalRegion[],
    { limits, ...options }: Omit<RangeOptions, keyof Limits> & { limits: Limits },
    call: (lineages: readonly string[]) => Promise<Receipt[]>,
  ): Promise<Receipt[]> {
    const posted = await ExternalRegion.#settle(regions, limits);
    for (const { attached } of regions) if (attached.isOver) throw attached.lost;
    const receipts = await call(regions.map(({ attached }) => attached.reply.lineage));
    for (const [index, region] of regions.entries()) {
      region.#confirm(receipts[index], options, posted[index]);
    }
    return receipts;
  }

  /** Writes back what is dirty of the writes begun so far; the store may still cache it. */
  async flush(options: RangeOptions = NO_LIMITS): Promise<Receipt> {
    const { limits, ...request } = this.#request(options);
    await ExternalRegion.#settle([this], limits);
    return await this.#control.call('flush', { ...limits, ...request });
  }

  /** Evicts pages that nobody uses now; how many. Dirty ones stay unless `dirty` says otherwise. */
  async reclaim(options: RangeOptions & { dirty?: ReclaimRule } = NO_LIMITS): Promise<number> {
    const { limits, params, body } = this.#request(options, 'dirty');
    const call = { ...limits, params, body: { ...body, ...dirtyOf(options) } };
    return (await this.#control.call('reclaim', call)).pagesReclaimed;
  }

  /**
   * Brings the pages of the range near in the background; of a copy, into its own file too, all
   * that its source still has. With `wait`, resolves when that has ended, however long it takes,
   * and rejects when it failed: `timeoutMs` bounds each question, `signal` ends the waiting only.
   * ERR_SOURCE_AWAY, ERR_SOURCE_CHANGED, ERR_NO_SPACE, ERR_MEMORY_FULL, ERR_IO, ERR_ABORTED.
   */
  async prefetch(options: PrefetchOptions = NO_LIMITS): Promise<PrefetchReply> {
    const { limits, ...request } = this.#request(options, 'wait', 'onProgress');
    const ask = { ...limits, params: { region: this.name } };
    let reply = await this.#control.call('prefetch', { ...limits, ...request });
    while (options.wait && reply.state === 'running') {
      options.onProgress?.(reply);
      const { signal } = limits;
      await within(pause(LOOK_MS), { ...(signal && { signal }), timeoutMs: 0 });
      const { prefetches } = await this.#control.call('prefetches', ask);
      const found = prefetches.find(({ id }) => id === reply.id);
      // It began in another process of the appliance, or so many came after it.
      if (found === undefined) throw new FarpageError('ERR_SESSION_ENDED', 'prefetch');
      reply = found;
    }
    if (!options.wait || reply.error === undefined) return reply;
    const { code } = reply.error;
    const come = `${this.name}, ${reply.pages.passed} of ${reply.pages.total} pages are here`;
    throw new FarpageError(isErrorCode(code) ? code : 'ERR_INTERNAL', come);
  }

  /** Ends the prefetches of the region that are under way; what they brought stays. */
  async cancelPrefetch(limits: Limits = NO_LIMITS): Promise<void> {
    await this.#control.call('cancelPrefetch', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /**
   * Lets the source of a copy go, for good: it is asked no more. ERR_SOURCE_NEEDED while a page is
   * only there, ERR_ARGUMENT for what is no copy.
   */
  async detachSource(limits: Limits = NO_LIMITS): Promise<void> {
    await this.#control.call('detachSource', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /**
   * Moves pages of the range out of memory, dirty ones into the tiers; how many went. With `cold`
   * only those that nobody has used for so long: `10m`, or milliseconds, rounded up to what is
   * known. ERR_ARGUMENT for longer than that.
   */
  async demote(options: DemoteOptions = NO_LIMITS): Promise<number> {
    const { limits, params, body } = this.#request(options, 'cold');
    const { cold } = options;
    const age = cold === undefined ? {} : { coldMs: parseAge(cold) };
    const call = { ...limits, params, body: { ...body, ...age } };
    return (await this.#control.call('demote', call)).pagesDemoted;
  }

  /** Brings pages of the range back from the tiers as far as there is memory; how many came. */
  async promote(options: RangeOptions = NO_LIMITS): Promise<number> {
    const { limits, ...request } = this.#request(options);
    return (await this.#control.call('promote', { ...limits, ...request })).pagesPromoted;
  }

  /**
   * Keeps pages in memory once they are there: nothing evicts them. They are brought near in the
   * background unless `lazy`. All ranges that stay. ERR_QUOTA beyond half of the memory.
   */
  async pin(options: RangeOptions & { lazy?: boolean } = NO_LIMITS): Promise<PinnedRange[]> {
    const { limits, params, body } = this.#request(options, 'lazy');
    const { lazy = false } = options;
    const call = { ...limits, params, body: { ...body, lazy } };
    return (await this.#control.call('pin', call)).ranges;
  }

  /** Lets pages go like others again; the ranges that still stay. */
  async unpin(options: RangeOptions = NO_LIMITS): Promise<PinnedRange[]> {
    const { limits, params, body } = this.#request(options);
    const call = { ...limits, params, query: rangeQueryOf(body) };
    return (await this.#control.call('unpin', call)).ranges;
  }

  /** Its pages in use, as they are recorded and brought near after a restart. */
  get workingSet(): RegionWorkingSet {
    return new RegionWorkingSet(this.#control, this.name);
  }

  /** The ranges whose pages stay in memory. */
  async pins(limits: Limits = NO_LIMITS): Promise<PinnedRange[]> {
    return (
      await this.#control.call('pins', { ...givenLimits(limits), params: { region: this.name } })
    ).ranges;
  }

  /**
   * Makes pages absent, so that the next touch fills them again; how many. ERR_REGION_DIRTY unless
   * `dirty` says what becomes of dirty ones, ERR_ALIGNMENT, ERR_ACCESS.
   */
  async invalidate(options: RangeOptions & { dirty?: DirtyRule } = NO_LIMITS): Promise<number> {
    const { limits, params, body } = this.#request(options, 'dirty');
    const call = { ...limits, params, body: { ...body, ...dirtyOf(options) } };
    return (await this.#control.call('invalidate', call)).pagesInvalidated;
  }

  /**
   * Permits `access` to a range and nothing else, for everybody; when it settles, nothing that it
   * forbids is under way. All ranges that permit less than the region. ERR_ALIGNMENT, ERR_QUOTA,
   * ERR_ACCESS.
   */
  async protect(
    access: Permission,
    options: RangeOptions = NO_LIMITS,
  ): Promise<Protection['ranges']> {
    const { limits, params, body } = this.#request(options);
    const call = { ...limits, params, body: { ...body, access } };
    return (await this.#control.call('protect', call)).ranges;
  }

  /** The ranges that permit less than the region. */
  async protection(limits: Limits = NO_LIMITS): Promise<Protection['ranges']> {
    const call = { ...givenLimits(limits), params: { region: this.name } };
    return (await this.#control.call('protection', call)).ranges;
  }

  /** Its figures. */
  async stat(limits: Limits = NO_LIMITS): Promise<RegionStat> {
    return await this.#control.call('stat', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /** What the appliance's last start found of it. */
  async receipt(limits: Limits = NO_LIMITS): Promise<RestartReceipt> {
    return await this.#control.call('receipt', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /**
   * Whether a restart has lost writes that came after the sync of this epoch (`sync` returns it)
   * and before the next one. What is a conflict is in `receipt`.
   */
  async lostSince(epoch: number, limits: Limits = NO_LIMITS): Promise<boolean> {
    if (!Number.isSafeInteger(epoch) || epoch < 0) {
      throw new FarpageError('ERR_ARGUMENT', `${epoch} is the epoch of no sync`);
    }
    const receipt = await this.receipt(limits);
    return epoch > receipt.epoch || (receipt.lastLoss !== null && receipt.lastLoss >= epoch);
  }

  /**
   * Where the bytes of the range are from, and where they are, run by run in order: untouched,
   * filled, from the file, from elsewhere, dirty, written back, lost; in memory, in a tier. The
   * appliance is asked as the runs are taken, 1,024 at a time. ERR_RANGE.
   */
  provenance(options: RangeOptions = NO_LIMITS): AsyncGenerator<ProvenanceRun, void, undefined> {
    const limits = limitsAmong(options, RANGE_KEYS);
    const { offset: first = 0, length } = options;
    const end = length === undefined ? undefined : first + length;
    const params = { region: this.name };
    return provenanceRuns(async (offset) => {
      const query = {
        offset: String(offset),
        ...(end !== undefined && { length: String(end - offset) }),
      };
      return await this.#control.call('provenance', { ...limits, params, query });
    }, first);
  }

  /** A picture of its page table in `cells` cells, 64 by default. */
  async pageMap(options: RangeOptions & { cells?: number } = NO_LIMITS): Promise<PageMap> {
    const limits = limitsAmong(options, [...RANGE_KEYS, 'cells']);
    const { offset, length, cells } = options;
    const query = {
      ...(offset !== undefined && { offset: String(offset) }),
      ...(length !== undefined && { length: String(length) }),
      ...(cells !== undefined && { cells: String(cells) }),
    };
    const call = { ...limits, params: { region: this.name }, query };
    const reply = await this.#control.call('pages', call);
    return { ...reply, cells: Buffer.from(reply.cells, 'base64') };
  }

  /**
   * Gives the attachment back, once what was begun before has ended; the region itself stays, if it
   * has a name. What is called from now on, also of its slabs, ends with ERR_CLOSED. Idempotent.
   */
  async detach(limits: Limits = NO_LIMITS): Promise<void> {
    givenLimits(limits);
    // Answers come in order (RFC 5040 section 5.5): that of a fence comes after all others.
    const settled = async () => await this.link.pair?.fence(limits);
    await this.#session.detach(this.attached, limits, settled);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach();
  }

  /**
   * Resolves once everything written before has been placed, with how many writes were posted of
   * each region; rejects with ERR_WRITES_LOST, once, when a restart has lost some of them.
   */
  static async #settle(regions: readonly ExternalRegion[], limits: Limits): Promise<number[]> {
    const posted = regions.map(({ attached }) => attached.unconfirmed.posted);
    await Promise.all(regions.map((region) => region.fence(limits)));
    // Only now, and of all: what is taken here is told.
    const lost = regions.flatMap(({ name, attached }) => {
      const lostSince = attached.unconfirmed.takeLoss();
      return lostSince === undefined ? [] : [`to ${name} after sync ${lostSince}`];
    });
    if (lost.length === 0) return posted;
    throw new FarpageError('ERR_WRITES_LOST', `what was written ${lost.join(', and ')}`);
  }

  /** Only what is durable, and all of the region, says that every write so far is safe. */
  #confirm(
    receipt: Receipt | undefined,
    { offset, length }: RangeOptions,
    posted: number | undefined,
  ): void {
    const whole = offset === undefined && length === undefined;
    if (!receipt?.durable || !whole || posted === undefined) return;
    this.attached.unconfirmed.confirm(posted, receipt.epoch);
  }

  /** What a call on a range takes; `others` are the options that it has beside. ERR_ARGUMENT. */
  #request(options: RangeOptions, ...others: string[]) {
    const limits = limitsAmong(options, [...RANGE_KEYS, ...others]);
    const { offset, length } = options;
    const body = {
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    };
    return { limits, params: { region: this.name }, body };
  }
}

function dirtyOf<Rule extends string>({ dirty }: { dirty?: Rule }) {
  return dirty === undefined ? {} : { dirty };
}
