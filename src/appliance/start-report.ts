/** What an appliance found when it started, before anybody touched a region. */
import type { StartReport } from '../control/schema.js';
import { formatCount } from '../units.js';
import type { MemoryDirectory } from './memory-directory.js';
import { findOrphans } from './orphans.js';
import type { Region } from './region.js';

export function startReportOf(options: {
  unclean: boolean;
  regions: readonly Region[];
  keepFolder: string;
  memory: MemoryDirectory | undefined;
}): StartReport {
  const { unclean, regions, keepFolder, memory } = options;
  const ids = regions.map(({ record }) => record.id);
  const inMemory = (id: string) => memory?.has(id) ?? false;
  return {
    start: unclean ? 'unclean' : 'clean',
    regions: regions.length,
    inMemory: memory === undefined ? null : ids.filter(inMemory).length,
    orphans: findOrphans(keepFolder, { known: new Set(ids), inMemory }),
  };
}

/** The same in one line. */
export function describeStart({ start, regions, inMemory, orphans }: StartReport): string {
  const ended = start === 'clean' ? '' : 'the one before did not end well; ';
  const kept = inMemory === null ? '' : `, ${inMemory} with memory of an earlier process`;
  const files = orphans.map(({ file, bytes }) => `${file} (${bytes} bytes)`).join(', ');
  const left = files === '' ? '' : `; kept files of no region, to be copied or deleted: ${files}`;
  return `${ended}${formatCount(regions, 'region')}${kept}${left}`;
}
