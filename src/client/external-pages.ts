/** The pages of a region as its client sees them: near or far, pinned, protected, where from. */
import { provenanceRuns } from '../control/provenance.js';
import { rangeQueryOf } from '../control/range-query.js';
import type {
  DirtyRule,
  Permission,
  PrefetchReply,
  Protection,
  ProvenanceRun,
  ReclaimRule,
} from '../control/schema.js';
import { FarpageError, isErrorCode } from '../errors.js';
import type { PinnedRange } from '../native/binding.js';
import { parseAge } from '../units.js';
import type { Attached } from './attached.js';
import { type Caller, type ClientSession, callerOf } from './client-session.js';
import { ExternalMemory } from './external-memory.js';
import { givenLimits, type Limits, limitsAmong, NO_LIMITS, pause, within } from './limits.js';
import type { FabricLink } from './reconnect.js';
import { RegionWorkingSet } from './region-working-set.js';

/** A range in bytes: the whole region unless it says otherwise. */
export interface RangeOptions extends Limits {
  /** From the beginning of the region on; 0. */
  readonly offset?: number;
  /** To the end of the region by default. */
  readonly length?: number;
}

/** By name. */
export const RANGE_KEYS: readonly string[] = ['offset', 'length'];

/** Which pages of a range leave memory: all that nobody uses now, unless `cold` says more. */
export interface DemoteOptions extends RangeOptions {
  /** How long nobody has used a page that goes: `30s`, `10m`, `2h`, `1d`, or milliseconds. */
  readonly cold?: string | number;
}

/** Which pages give their memory back, and what becomes of dirty ones. */
export interface ReclaimOptions extends RangeOptions {
  /** By default they are kept where they are. */
  readonly dirty?: ReclaimRule;
}

/** Which pages are forgotten, and what becomes of dirty ones. */
export interface InvalidateOptions extends RangeOptions {
  /** By default nothing is done where there is one: ERR_REGION_DIRTY. */
  readonly dirty?: DirtyRule;
}

/** Which pages stay in memory. */
export interface PinOptions extends RangeOptions {
  /** Those that are absent come when they are touched, and are not brought near at once. */
  readonly lazy?: boolean;
}

/** What a picture is of. */
export interface PageMapOptions extends RangeOptions {
  /** 1 to 65,536; 64 by default, and never more than the range has pages. */
  readonly cells?: number;
}

/** What is brought near, and whether its end is waited for. */
export interface PrefetchOptions extends RangeOptions {
  /** Settles when it has ended, and not when it has begun. */
  readonly wait?: boolean;
  /** Called every 100 ms while it waits. */
  readonly onProgress?: (progress: PrefetchReply) => void;
}

/** A picture of a range, cell by cell. */
export interface PageMap {
  /** Where the range begins in the region, and how long it is, in bytes. */
  readonly offset: number;
  readonly length: number;
  /**
   * A byte each, the OR over its share of pages: 1 present, 2 dirty, 4 written since the region was
   * allocated, 8 written back, 16 lost, 64 in a tier; 32 where only a part of them is present.
   */
  readonly cells: Uint8Array;
}

/** Between two looks at how far a prefetch is. */
const LOOK_MS = 100;

/** What is asked of the appliance about the pages of one region; see `ExternalRegion`. */
export class ExternalPages extends ExternalMemory {
  /** The region's name; that of an unnamed one begins with `@`. */
  readonly name: string;
  /** Bytes of a page, which the ranges of `invalidate` and `protect` are multiples of. */
  readonly pageSize: number;
  readonly #control: Caller;

  constructor(options: { attached: Attached; link: FabricLink; session: ClientSession }) {
    const { attached, link, session } = options;
    super({ attached, link, offset: 0, size: attached.reply.size });
    this.name = attached.reply.region;
    this.pageSize = attached.reply.pageSize;
    this.#control = callerOf(attached, session);
  }

  protected get control(): Caller {
    return this.#control;
  }

  /** Evicts pages that nobody uses now; how many. Dirty ones stay unless `dirty` says otherwise. */
  async reclaim(options: ReclaimOptions = NO_LIMITS): Promise<number> {
    const { limits, params, body } = this.request(options, 'dirty');
    const call = { ...limits, params, body: { ...body, ...dirtyOf(options) } };
    return (await this.control.call('reclaim', call)).pagesReclaimed;
  }

  /**
   * Brings the pages of the range near in the background; of a copy, into its own file too, all
   * that its source still has. With `wait`, resolves when that has ended, however long it takes,
   * and rejects when it failed: `timeoutMs` bounds each question, `signal` ends the waiting only.
   * ERR_SOURCE_AWAY, ERR_SOURCE_CHANGED, ERR_NO_SPACE, ERR_MEMORY_FULL, ERR_IO, ERR_ABORTED.
   */
  async prefetch(options: PrefetchOptions = NO_LIMITS): Promise<PrefetchReply> {
    const { limits, ...request } = this.request(options, 'wait', 'onProgress');
    const ask = { ...limits, params: { region: this.name } };
    let reply = await this.control.call('prefetch', { ...limits, ...request });
    while (options.wait && reply.state === 'running') {
      options.onProgress?.(reply);
      const { signal } = limits;
      await within(pause(LOOK_MS), { ...(signal && { signal }), timeoutMs: 0 });
      const { prefetches } = await this.control.call('prefetches', ask);
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
    await this.control.call('cancelPrefetch', {
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
    const { limits, params, body } = this.request(options, 'cold');
    const { cold } = options;
    const age = cold === undefined ? {} : { coldMs: parseAge(cold) };
    const call = { ...limits, params, body: { ...body, ...age } };
    return (await this.control.call('demote', call)).pagesDemoted;
  }

  /** Brings pages of the range back from the tiers as far as there is memory; how many came. */
  async promote(options: RangeOptions = NO_LIMITS): Promise<number> {
    const { limits, ...request } = this.request(options);
    return (await this.control.call('promote', { ...limits, ...request })).pagesPromoted;
  }

  /**
   * Keeps pages in memory once they are there: nothing evicts them. They are brought near in the
   * background unless `lazy`. All ranges that stay. ERR_QUOTA beyond half of the memory.
   */
  async pin(options: PinOptions = NO_LIMITS): Promise<PinnedRange[]> {
    const { limits, params, body } = this.request(options, 'lazy');
    const { lazy = false } = options;
    const call = { ...limits, params, body: { ...body, lazy } };
    return (await this.control.call('pin', call)).ranges;
  }

  /** Lets pages go like others again; the ranges that still stay. */
  async unpin(options: RangeOptions = NO_LIMITS): Promise<PinnedRange[]> {
    const { limits, params, body } = this.request(options);
    const call = { ...limits, params, query: rangeQueryOf(body) };
    return (await this.control.call('unpin', call)).ranges;
  }

  /** Its pages in use, as they are recorded and brought near after a restart. */
  get workingSet(): RegionWorkingSet {
    return new RegionWorkingSet(this.control, this.name);
  }

  /** The ranges whose pages stay in memory. */
  async pins(limits: Limits = NO_LIMITS): Promise<PinnedRange[]> {
    return (
      await this.control.call('pins', { ...givenLimits(limits), params: { region: this.name } })
    ).ranges;
  }

  /**
   * Makes pages absent, so that the next touch fills them again; how many. ERR_REGION_DIRTY unless
   * `dirty` says what becomes of dirty ones, ERR_ALIGNMENT, ERR_ACCESS.
   */
  async invalidate(options: InvalidateOptions = NO_LIMITS): Promise<number> {
    const { limits, params, body } = this.request(options, 'dirty');
    const call = { ...limits, params, body: { ...body, ...dirtyOf(options) } };
    return (await this.control.call('invalidate', call)).pagesInvalidated;
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
    const { limits, params, body } = this.request(options);
    const call = { ...limits, params, body: { ...body, access } };
    return (await this.control.call('protect', call)).ranges;
  }

  /** The ranges that permit less than the region. */
  async protection(limits: Limits = NO_LIMITS): Promise<Protection['ranges']> {
    const call = { ...givenLimits(limits), params: { region: this.name } };
    return (await this.control.call('protection', call)).ranges;
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
      return await this.control.call('provenance', { ...limits, params, query });
    }, first);
  }

  /** A picture of its page table in `cells` cells. ERR_RANGE. */
  async pageMap(options: PageMapOptions = NO_LIMITS): Promise<PageMap> {
    const limits = limitsAmong(options, [...RANGE_KEYS, 'cells']);
    const { offset, length, cells } = options;
    const query = {
      ...(offset !== undefined && { offset: String(offset) }),
      ...(length !== undefined && { length: String(length) }),
      ...(cells !== undefined && { cells: String(cells) }),
    };
    const call = { ...limits, params: { region: this.name }, query };
    const reply = await this.control.call('pages', call);
    return { ...reply, cells: Buffer.from(reply.cells, 'base64') };
  }

  /** What a call on a range takes; `others` are the options that it has beside. ERR_ARGUMENT. */
  protected request(options: RangeOptions, ...others: string[]) {
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
