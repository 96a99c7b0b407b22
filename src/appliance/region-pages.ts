/** What is done to pages of a region, a range at a time, and a picture of them. */
import type {
  DemoteReply,
  DirtyRule,
  InvalidateReply,
  Permission,
  Pins,
  Protection,
  Provenance,
  ReclaimReply,
  ReclaimRule,
} from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { PagerStats, RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { formatAge, formatCount, pageCount } from '../units.js';
import { findDirtyRuns } from './dirty-runs.js';
import { invalidate, protect, reclaim, type Work } from './indicators.js';
import { provenanceOf } from './provenance.js';
import { boundsOf, type Range } from './range.js';
import { pinnedPagesMax, type RegionRecord } from './record.js';

/** What is needed of the region. */
interface Host {
  readonly record: () => RegionRecord;
  /** Its handle, unless it is idle. */
  readonly opened: () => RegionHandle | undefined;
  readonly open: () => RegionHandle;
  /** How finely and how far back it is known when pages were used, and how much memory there is. */
  readonly pager: () => Pick<PagerStats, 'ageTickMs' | 'ageMaxMs' | 'memoryBytes'>;
  /** The appliance's own file of it; empty where it keeps none. */
  readonly keptPath: () => string;
  /** Lets it stay open until the work has ended. */
  readonly track: <T>(work: Promise<T>) => Promise<T>;
  /** Writes back what is dirty in the range, durably; pages. */
  readonly sync: (range: Range) => Promise<number>;
  /** From now on its record says this. */
  readonly keep: (said: Pick<RegionRecord, 'protection'> | Pick<RegionRecord, 'pins'>) => void;
}

export class RegionPages {
  readonly #region: Host;

  constructor(region: Host) {
    this.#region = region;
  }

  /** Gives memory back, as `indicators.ts` says. */
  async reclaim(range: Range & { dirty: ReclaimRule }): Promise<ReclaimReply> {
    return await this.#region.track(reclaim(this.#work(range), range.dirty));
  }

  /** Makes pages absent, as `indicators.ts` says. */
  async invalidate(range: Range & { dirty: DirtyRule }): Promise<InvalidateReply> {
    return await this.#region.track(invalidate(this.#work(range), range.dirty));
  }

  /** Permits these accesses and no others, as `indicators.ts` says. */
  async protect(range: Range & { access: Permission }): Promise<Protection> {
    const work = protect(this.#work(range), range.access);
    this.#region.keep({ protection: await this.#region.track(work) });
    return this.protection();
  }

  /** The ranges that permit less than the region. */
  protection(): Protection {
    const { name, protection = [] } = this.#region.record();
    return { region: name, ranges: [...protection] };
  }

  /** Its pages stay in memory once they are there; all that do. ERR_QUOTA. */
  async pin(range: Range): Promise<Pins> {
    return await this.#pin(range, true);
  }

  /** Its pages go like others again; those that still stay. */
  async unpin(range: Range): Promise<Pins> {
    return await this.#pin(range, false);
  }

  async #pin(range: Range, pinned: boolean): Promise<Pins> {
    const record = this.#region.record();
    const options = { ...boundsOf(record, range), pinned, pagesMax: pinnedPagesMax(record) };
    try {
      const work = native().regionPin(this.#region.open(), options);
      this.#region.keep({ pins: await this.#region.track(work) });
    } catch (error) {
      throw this.#told(error, options.lengthBytes);
    }
    return this.pins();
  }

  /** Of pins that are too many: how many were asked for, and how many there may be. */
  #told(error: unknown, lengthBytes: number): unknown {
    if (!(error instanceof FarpageError) || !/ pages are pinned/.test(error.message)) return error;
    const record = this.#region.record();
    const own = pinnedPagesMax(record);
    // Half of the memory (pinning.h).
    const all = Math.floor(pageCount(this.#region.pager().memoryBytes) / 2);
    const whose = own < all ? 'of it' : 'of all regions';
    const asked = `${formatCount(pageCount(lengthBytes), 'page')} of ${record.name}`;
    const what = `${asked}, where ${Math.min(own, all)} ${whose} may be pinned at most`;
    return new FarpageError(error.code, what, { cause: error });
  }

  /** The ranges whose pages stay in memory: after a restart as many as there is room for. */
  pins(): Pins {
    const { name, pins = [] } = this.#region.record();
    const handle = this.#region.opened();
    return { region: name, ranges: handle === undefined ? [...pins] : native().regionPins(handle) };
  }

  /**
   * Evicts the range, dirty pages into the tiers, if there are any; with `coldMs` only what nobody
   * has used for so long, rounded up to what is known. ERR_ARGUMENT beyond that.
   */
  async demote(
    range: Range & { coldMs?: number | undefined },
  ): Promise<Omit<DemoteReply, 'region'>> {
    const bounds = boundsOf(this.#region.record(), range);
    const coldMs = range.coldMs === undefined ? undefined : this.#knownAge(range.coldMs);
    const options = { ...bounds, coldMs: coldMs ?? 0 };
    const work = native().regionDemote(this.#region.open(), options);
    const { pages: pagesDemoted, pinnedPages: pagesPinned } = await this.#region.track(work);
    return { pagesDemoted, pagesPinned, ...(coldMs !== undefined && { coldMs }) };
  }

  #knownAge(coldMs: number): number {
    const { ageTickMs, ageMaxMs } = this.#region.pager();
    const known = Math.ceil(coldMs / ageTickMs) * ageTickMs;
    if (known <= ageMaxMs) return known;
    const why = `ages of pages are known up to ${formatAge(ageMaxMs)}, not ${formatAge(coldMs)}`;
    throw new FarpageError('ERR_ARGUMENT', why);
  }

  /** Brings the range back from the tiers as far as there is memory; how many pages came. */
  async promote(range: Range): Promise<number> {
    const bounds = boundsOf(this.#region.record(), range);
    return await this.#region.track(native().regionPromote(this.#region.open(), bounds));
  }

  /** Where the pages of the range are from, in at most `limit` runs. */
  async provenance(range: Range & { limit: number }): Promise<Provenance> {
    const record = this.#region.record();
    const { limit } = range;
    const bounds = boundsOf(record, range);
    const handle = this.#region.open();
    const keptPath = this.#region.keptPath();
    return await this.#region.track(provenanceOf({ record, handle, bounds, limit, keptPath }));
  }

  /** A picture of the range, as `regionPageMap` of the border says. */
  map(range: Range & { cells: number }): {
    bounds: { offset: number; length: number };
    cells: Uint8Array;
  } {
    const { offset, lengthBytes } = boundsOf(this.#region.record(), range);
    const cells = Math.min(range.cells, pageCount(lengthBytes));
    const bounds = { offset, length: lengthBytes };
    const handle = this.#region.opened();
    if (handle === undefined) return { bounds, cells: new Uint8Array(cells) };
    return { bounds, cells: native().regionPageMap(handle, { offset, lengthBytes, cells }) };
  }

  /** The first `max` runs of dirty pages as [offset, length]. */
  dirtyRuns(max: number): [number, number][] {
    const handle = this.#region.opened();
    const dirtyPages = handle === undefined ? 0 : native().regionStats(handle).dirtyPages;
    const pictureOf = (window: { offset: number; length: number }) =>
      this.map({ ...window, cells: pageCount(window.length) }).cells;
    return findDirtyRuns({ size: this.#region.record().size, dirtyPages, max, pictureOf });
  }

  #work(range: Range): Work {
    const record = this.#region.record();
    const sync = () => this.#region.sync(range);
    return { record, handle: this.#region.open(), bounds: boundsOf(record, range), sync };
  }
}
