/** `/metrics`: counters in the Prometheus text format. Loaded when somebody first asks. */
import { setImmediate } from 'node:timers/promises';
import { Counter, Gauge, Registry } from 'prom-client';
import type { RegionStat } from '../control/schema.js';
import type { NicStats, PagerStats } from '../native/binding.js';

/** The figures of one moment. */
export interface Snapshot {
  readonly regions: readonly RegionStat[];
  readonly nic: NicStats;
  readonly pager: PagerStats;
  readonly sessions: number;
}

const sumOf = (from: Snapshot, of: (region: RegionStat) => number) =>
  from.regions.reduce((sum, region) => sum + of(region), 0);

const SCALARS: readonly (readonly [string, string, (from: Snapshot) => number])[] = [
  ['sessions', 'Open sessions', (s) => s.sessions],
  ['memory_limit_bytes', 'Bound on pages and their tables', (s) => s.pager.memoryBytes],
  ['memory_page_bytes', 'Memory of pages', (s) => s.pager.pageBytes],
  ['memory_table_bytes', 'Memory of the tables they need', (s) => s.pager.tableBytes],
  ['memory_own_bytes', 'Memory of the process beside these', (s) => s.pager.ownBytes],
  ['reserved_bytes', 'Bytes of all regions', (s) => sumOf(s, (r) => r.reservedBytes)],
  ['allocated_bytes', 'Bytes of allocated regions', (s) => s.pager.allocatedBytes],
  ['allocated_limit_bytes', 'Bound on these: the overcommit', (s) => s.pager.allocatedBytesMax],
  ['mapped_bytes', 'Bytes of ranges of addresses', (s) => s.pager.mappedBytes],
  ['parked_total', 'Ranges given back by idle regions', (s) => s.pager.parkedRegions],
  ['present_pages', 'Present pages of all regions', (s) => s.pager.presentPages],
  ['dirty_pages', 'Dirty pages of all regions', (s) => s.pager.dirtyPages],
  ['evicted_pages_total', 'Pages evicted', (s) => s.pager.evictedPages],
  ['grace_periods_total', 'Grace periods waited for', (s) => s.pager.gracePeriods],
  ['frozen_copies_total', 'Pages copied by who wrote them first', (s) => s.pager.frozenCopies],
  ['queued_faults', 'Faults that wait for a fill', (s) => s.pager.queuedFaults],
  ['connections', 'Fabric connections', (s) => s.nic.connections],
  ['accepted_total', 'Fabric connections accepted', (s) => s.nic.accepted],
  ['refused_total', 'Fabric connections refused', (s) => s.nic.refused],
  ['terminated_total', 'Streams ended by a Terminate', (s) => s.nic.terminated],
  ['operations_total', 'Operations served', (s) => s.nic.operations],
  ['read_bytes_total', 'Bytes read by clients', (s) => s.nic.bytesRead],
  ['written_bytes_total', 'Bytes written by clients', (s) => s.nic.bytesWritten],
];

const REGION: readonly (readonly [string, string, string, (from: RegionStat) => object])[] = [
  ['region_pages', 'Pages of a region by what they are', 'state', (r) => r.pages],
  ['region_operations_total', 'Operations by the way they took', 'path', (r) => r.operations],
  ['region_fills_total', 'Pages and bytes initialised', 'unit', (r) => r.fills],
  ['region_writebacks_total', 'Pages and bytes written back', 'unit', (r) => r.writebacks],
];

/**
 * The name of a region that its user gave no name is as good as a secret, and soon another one:
 * these are counted together.
 */
const UNNAMED = '@';

/** What only grows is told as a counter; a figure of a snapshot is set once either way. */
function metricOf(name: string): typeof Counter | typeof Gauge {
  return name.endsWith('_total') ? Counter : Gauge;
}

/** Regions whose figures are written in one turn of the event loop: some 2 ms. */
const TURN_REGIONS = 128;

/** The figures of regions whose names are told alike, added up; keys as in the first of them. */
function added(regions: readonly RegionStat[], read: (from: RegionStat) => object) {
  const sums = new Map<string, number>();
  for (const region of regions) {
    for (const [key, value] of Object.entries(read(region))) {
      sums.set(key, (sums.get(key) ?? 0) + value);
    }
  }
  return sums;
}

/**
 * The families of regions, of which there may be thousands: written here, because the library keeps
 * an object for each figure and takes 10 times as long, in one turn. Names need no escapes.
 */
async function renderRegions(regions: readonly RegionStat[]): Promise<string> {
  const named = regions.filter(({ name }) => !name.startsWith(UNNAMED));
  const unnamed = regions.filter(({ name }) => name.startsWith(UNNAMED));
  let text = '';
  for (const [family, help, label, read] of REGION) {
    const name = `farpage_${family}`;
    const type = metricOf(family) === Counter ? 'counter' : 'gauge';
    text += `\n# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    const write = (region: string, figures: Iterable<[string, number]>) => {
      for (const [key, value] of figures) {
        text += `${name}{region="${region}",${label}="${key}"} ${value}\n`;
      }
    };
    for (let at = 0; at < named.length; at += TURN_REGIONS) {
      for (const stat of named.slice(at, at + TURN_REGIONS)) {
        write(stat.name, Object.entries(read(stat)));
      }
      await setImmediate();
    }
    write(UNNAMED, added(unnamed, read));
  }
  return text;
}

/** Renders one snapshot. */
export async function renderMetrics(
  from: Snapshot,
): Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  const registers = [registry];
  for (const [name, help, read] of SCALARS) {
    new (metricOf(name))({ name: `farpage_${name}`, help, registers }).inc(read(from));
  }
  const scalars = await registry.metrics();
  return { contentType: registry.contentType, text: scalars + (await renderRegions(from.regions)) };
}
