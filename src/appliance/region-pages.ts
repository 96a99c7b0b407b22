/** What is done to pages of a region, a range at a time, and a picture of them. */
import type { RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { pageCount } from '../units.js';
import { findDirtyRuns } from './dirty-runs.js';
import { boundsOf, type Range } from './range.js';
import type { RegionRecord } from './record.js';

/** What is needed of the region. */
interface Host {
  readonly record: () => RegionRecord;
  /** Its handle, unless it is idle. */
  readonly opened: () => RegionHandle | undefined;
  readonly open: () => RegionHandle;
  /** Lets it stay open until the work has ended. */
  readonly track: <T>(work: Promise<T>) => Promise<T>;
}

export class RegionPages {
  readonly #region: Host;

  constructor(region: Host) {
    this.#region = region;
  }

  /** Evicts the clean pages of the range; returns how many. */
  async reclaim(range: Range): Promise<number> {
    const bounds = boundsOf(this.#region.record(), range);
    return await this.#region.track(native().regionReclaim(this.#region.open(), bounds));
  }

  /** Evicts the range, dirty pages into the tiers, if there are any; how many went. */
  async demote(range: Range): Promise<number> {
    const bounds = boundsOf(this.#region.record(), range);
    return await this.#region.track(native().regionDemote(this.#region.open(), bounds));
  }

  /** Brings the range back from the tiers as far as there is memory; how many pages came. */
  async promote(range: Range): Promise<number> {
    const bounds = boundsOf(this.#region.record(), range);
    return await this.#region.track(native().regionPromote(this.#region.open(), bounds));
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
}
