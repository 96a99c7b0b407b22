/** Results that are kept, with a line on the machine, so that a regression shows. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus, getPriority, loadavg, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { packageVersion } from '../../control/version.js';
import { packagePath } from '../../native/package-path.js';
import type { Row } from './row.js';

/** Where a clone keeps them. */
export const RESULTS_FOLDER = packagePath('test/bench/results');

/** The machine as it is now. */
export function machineLine() {
  const cores = cpus();
  return {
    machine: {
      date: new Date().toISOString(),
      cpu: cores[0]?.model ?? 'unknown',
      cores: cores.length,
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.versions.node,
      farpage: packageVersion(),
      // Who else is working, and how far before them the benchmark was put (nice, -20 to 19).
      load: loadavg().map((load) => Number(load.toFixed(2))),
      nice: getPriority(),
    },
  };
}

/** Appends the machine's line and the rows, one JSON object a line. */
export function saveResults(
  path: string,
  results: { machine: object; rows: readonly Row[] },
): void {
  mkdirSync(dirname(path), { recursive: true });
  const lines = [results.machine, ...results.rows].map((line) => JSON.stringify(line));
  appendFileSync(path, `${lines.join('\n')}\n`);
}
