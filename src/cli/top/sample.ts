/** What `farpage top` shows: figures of one moment, and their rates since the one before. */
import type { RegionStat, TierList } from '../../control/schema.js';

/** Figures as the appliance told them, at `atMs` of a clock that only goes forward. */
export interface Reading {
  readonly atMs: number;
  readonly regions: readonly RegionStat[];
  readonly tiers: TierList;
}

/** Per second; null where the counters began anew in between, or there was no reading before. */
export interface Rates {
  readonly operations: number | null;
  readonly bytes: number | null;
  readonly faults: number | null;
  readonly filledBytes: number | null;
  readonly writtenBackBytes: number | null;
  /** Operations that met no absent page, of all; null also where there were none. */
  readonly hitRatio: number | null;
}

export interface RegionSample {
  readonly name: string;
  readonly size: number;
  readonly state: RegionStat['state'];
  readonly pageSize: number;
  readonly pages: RegionStat['pages'];
  readonly syncAgeMs: number | null;
  readonly rates: Rates;
}

export interface Sample {
  readonly at: string;
  readonly elapsedMs: number | null;
  readonly memory: TierList['memory'];
  readonly tiers: TierList['tiers'];
  readonly regions: readonly RegionSample[];
  /** Of all regions together. */
  readonly rates: Rates;
}

const COUNTERS = {
  operations: ({ operations }: RegionStat) => operations.bypassed + operations.faulted,
  bytes: ({ operations }: RegionStat) => operations.bytes,
  faults: ({ operations }: RegionStat) => operations.faulted,
  filledBytes: ({ fills }: RegionStat) => fills.bytes,
  writtenBackBytes: ({ writebacks }: RegionStat) => writebacks.bytes,
} as const;
type Counter = keyof typeof COUNTERS;
const NAMES = Object.keys(COUNTERS) as Counter[];

/** By how much each counter grew; nothing where one of them fell: it is another region by now. */
function growthOf(now: RegionStat, before: RegionStat): Record<Counter, number> | undefined {
  const grown = NAMES.map((name) => [name, COUNTERS[name](now) - COUNTERS[name](before)] as const);
  if (grown.some(([, by]) => by < 0)) return undefined;
  return Object.fromEntries(grown) as Record<Counter, number>;
}

function ratesOf(grown: readonly Record<Counter, number>[], elapsedMs: number | null): Rates {
  const none = elapsedMs === null || elapsedMs <= 0 || grown.length === 0;
  const total = (name: Counter) => grown.reduce((sum, one) => sum + one[name], 0);
  const perSecond = (name: Counter) => (none ? null : (total(name) * 1000) / elapsedMs);
  const operations = total('operations');
  return {
    operations: perSecond('operations'),
    bytes: perSecond('bytes'),
    faults: perSecond('faults'),
    filledBytes: perSecond('filledBytes'),
    writtenBackBytes: perSecond('writtenBackBytes'),
    hitRatio: none || operations === 0 ? null : 1 - total('faults') / operations,
  };
}

/** The sample of a reading; without one before it there are no rates. */
export function sampleOf(now: Reading, before: Reading | undefined): Sample {
  const elapsedMs = before === undefined ? null : now.atMs - before.atMs;
  const earlier = new Map(before?.regions.map((stat) => [stat.name, stat]));
  const grown: Record<Counter, number>[] = [];
  const regions = now.regions.map((stat) => {
    const last = earlier.get(stat.name);
    const growth = last && growthOf(stat, last);
    if (growth !== undefined) grown.push(growth);
    const { name, size, state, pageSize, pages, syncAgeMs } = stat;
    const rates = ratesOf(growth === undefined ? [] : [growth], elapsedMs);
    return { name, size, state, pageSize, pages, syncAgeMs, rates };
  });
  const { memory, tiers } = now.tiers;
  const at = new Date().toISOString();
  return { at, elapsedMs, memory, tiers, regions, rates: ratesOf(grown, elapsedMs) };
}
