/** What an appliance found when it started, before anybody touched a region. */
import type { StartReport } from '../control/schema.js';
import { formatCount } from '../units.js';
import type { MemoryDirectory } from './memory-directory.js';
import { findMemoryOrphans, findOrphans, tidyRemoved } from './orphans.js';
import type { Region } from './region.js';
import { savedSets } from './working-set-file.js';

export function startReportOf(options: {
  unclean: boolean;
  regions: readonly Region[];
  keepFolder: string;
  /** Of the files in it. */
  names: readonly string[];
  memory: MemoryDirectory | undefined;
  /** Identities of regions that the last change of the catalog took out. */
  removed: () => ReadonlySet<string>;
}): StartReport {
  const { unclean, regions, keepFolder, names, memory, removed } = options;
  const ids = regions.map(({ record }) => record.id);
  const known = new Set(ids);
  const sets = savedSets(names);
  tidyRemoved(keepFolder, { names, known, removed });
  const inMemory = (id: string) => memory?.has(id) ?? false;
  return {
    start: unclean ? 'unclean' : 'clean',
    regions: regions.length,
    inMemory: memory === undefined ? null : ids.filter(inMemory).length,
    orphans: [
      ...findOrphans(keepFolder, { names, known, inMemory }),
      ...(memory === undefined ? [] : findMemoryOrphans(memory.path, known)),
    ],
    workingSets: regions.flatMap(({ record, workingSet }) => {
      const problem = sets.has(record.id) ? workingSet.problem?.message : undefined;
      return problem === undefined ? [] : [{ region: record.name, problem }];
    }),
  };
}

/** The same in one line. */
export function describeStart(report: StartReport): string {
  const { start, regions, inMemory, orphans, workingSets } = report;
  const ended = start === 'clean' ? '' : 'the one before did not end well; ';
  const kept = inMemory === null ? '' : `, ${inMemory} with memory of an earlier process`;
  const files = orphans.map(({ file, bytes }) => `${file} (${bytes} bytes)`).join(', ');
  const left = files === '' ? '' : `; files of no region, to be copied or deleted: ${files}`;
  const sets = workingSets.map(({ region, problem }) => `; working set of ${region}: ${problem}`);
  return `${ended}${formatCount(regions, 'region')}${kept}${left}${sets.join('')}`;
}
