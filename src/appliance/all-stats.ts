/** Figures of all regions, of which there may be thousands. */
import { setImmediate } from 'node:timers/promises';
import type { RegionStat } from '../control/schema.js';
import type { Region } from './region.js';

/** Regions that are asked in one turn of the event loop: some 3 ms. */
const TURN_REGIONS = 128;

/** Those of each region as its turn comes: nobody else waits for all of them. */
export async function statsOf(regions: readonly Region[]): Promise<RegionStat[]> {
  const stats: RegionStat[] = [];
  for (let at = 0; at < regions.length; at += TURN_REGIONS) {
    if (at > 0) await setImmediate();
    stats.push(...regions.slice(at, at + TURN_REGIONS).map((region) => region.stat()));
  }
  return stats;
}
