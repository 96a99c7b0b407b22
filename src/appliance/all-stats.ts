/** What is told of all regions, of which there may be thousands. */
import { setImmediate } from 'node:timers/promises';
import { toFailure } from '../control/message.js';
import type { RegionStat, RestartReceiptList } from '../control/schema.js';
import type { Region } from './region.js';

/** Regions that are asked in one turn of the event loop: some 3 ms. */
const TURN_REGIONS = 128;

/** The same where some may have to be opened for it. */
const TURN_OPENED = 16;

/** What `tell` says of each region as its turn comes: nobody else waits for all of them. */
async function inTurns<T>(
  regions: readonly Region[],
  turn: number,
  tell: (region: Region) => T,
): Promise<T[]> {
  const told: T[] = [];
  for (let at = 0; at < regions.length; at += turn) {
    if (at > 0) await setImmediate();
    told.push(...regions.slice(at, at + turn).map(tell));
  }
  return told;
}

/** Figures of each, in their order. */
export async function statsOf(regions: readonly Region[]): Promise<RegionStat[]> {
  return await inTurns(regions, TURN_REGIONS, (region) => region.stat());
}

/** What the last start found of each, or why that cannot be told. */
export async function receiptsOf(
  regions: readonly Region[],
): Promise<RestartReceiptList['receipts']> {
  return await inTurns(regions, TURN_OPENED, (region) => {
    try {
      return region.restartReceipt();
    } catch (error) {
      return { region: region.record.name, error: toFailure(error) };
    }
  });
}
