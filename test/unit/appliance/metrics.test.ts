import { expect, it } from 'vitest';
import { renderMetrics, type Snapshot } from '../../../src/appliance/metrics.js';
import { statOf } from '../../helpers/region-stat.js';

const NIC = {
  connections: 1,
  accepted: 2,
  refused: 3,
  terminated: 4,
  operations: 5,
  bytesRead: 6,
  bytesWritten: 7,
};
const PAGER = {
  memoryBytes: 1,
  pageBytes: 2,
  tableBytes: 3,
  ownBytes: 4,
  allocatedBytes: 5,
  allocatedBytesMax: Number.POSITIVE_INFINITY,
  mappedBytes: 6,
  parkedRegions: 7,
  presentPages: 8,
  dirtyPages: 9,
  evictedPages: 10,
  gracePeriods: 11,
  frozenCopies: 12,
  ageTickMs: 13,
  ageMaxMs: 14,
  queuedFaults: 15,
};

function snapshotOf(names: readonly string[]): Snapshot {
  const regions = names.map((name, at) => statOf(name, { bypassed: at, present: 1 }));
  return { regions, nic: NIC, pager: PAGER, sessions: 3 };
}

it('metrics are lines of the text format, each family below its help and type', async () => {
  const { text } = await renderMetrics(snapshotOf(['a', '@one', 'b.c-d_e', '@two']));
  let family = '';
  const samples = new Map<string, string>();
  for (const line of text.trimEnd().split('\n')) {
    const [, described] = /^# (?:HELP|TYPE) (\w+) ./.exec(line) ?? [];
    family = described ?? family;
    if (described !== undefined || line === '') continue;
    const [, name, labels = '', value] =
      /^(\w+)(\{\w+="[\w.@-]+"(?:,\w+="\w+")*\})? (\S+)$/.exec(line) ?? [];
    expect([line, name]).toEqual([line, family]);
    expect(samples.has(`${name}${labels}`)).toBe(false);
    samples.set(`${name}${labels}`, value ?? '');
  }
  expect(samples.get('farpage_sessions')).toBe('3');
  expect(samples.get('farpage_region_pages{region="a",state="total"}')).toBe('256');
  expect(samples.get('farpage_region_operations_total{region="b.c-d_e",path="bypassed"}')).toBe(
    '2',
  );
  // 1 of the one and 3 of the other.
  expect(samples.get('farpage_region_operations_total{region="@",path="bypassed"}')).toBe('4');
  expect(samples.get('farpage_region_pages{region="@",state="present"}')).toBe('2');
  expect(text).toContain('# TYPE farpage_region_operations_total counter\n');
  expect(text).toContain('# TYPE farpage_region_pages gauge\n');
});

it('those of thousands of regions let others have their turns', async () => {
  const names = Array.from({ length: 4000 }, (_, at) => `r${at}`);
  let turns = 0;
  let next = setImmediate(function turn() {
    turns += 1;
    next = setImmediate(turn);
  });
  const { text } = await renderMetrics(snapshotOf(names));
  clearImmediate(next);
  expect(text.match(/^farpage_region_fills_total\{region="r3999",/gm)).toHaveLength(3);
  // A turn for 256 regions of a family at most.
  expect(turns).toBeGreaterThanOrEqual((4 * names.length) / 256);
});
