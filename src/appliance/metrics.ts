/** `/metrics`: counters in the Prometheus text format. Loaded when somebody first asks. */
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

/** Renders one snapshot. */
export async function renderMetrics(
  from: Snapshot,
): Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  const registers = [registry];
  for (const [name, help, read] of SCALARS) {
    new (metricOf(name))({ name: `farpage_${name}`, help, registers }).inc(read(from));
  }
  for (const [name, help, label, read] of REGION) {
    const labelNames = ['region', label];
    const metric = new (metricOf(name))({ name: `farpage_${name}`, help, labelNames, registers });
    for (const stat of from.regions) {
      const region = stat.name.startsWith(UNNAMED) ? UNNAMED : stat.name;
      for (const [key, value] of Object.entries(read(stat))) {
        metric.inc({ region, [label]: key }, value);
      }
    }
  }
  return { contentType: registry.contentType, text: await registry.metrics() };
}
