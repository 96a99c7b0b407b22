/** `farpage provenance`: where the bytes of a range are from, and where they are. */
import { Command } from 'commander';
import { provenanceRuns } from '../../control/provenance.js';
import type { Provenance, ProvenanceRun } from '../../control/schema.js';
import { formatSize } from '../../units.js';
import {
  type ConnectionOptions,
  integer,
  type RangeOptions,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from '../options.js';
import { drawProvenance, wordsOf } from '../provenance-picture.js';
import { fitTable } from '../table.js';

const LIMIT_MAX = 1_000_000;
const TABLE_RUNS = 50;
const JSON_RUNS = 1000;
/** Runs that are asked for at once. */
const STEP_RUNS = 1024;

interface Options extends ConnectionOptions, RangeOptions {
  readonly limit?: number;
}

/** The first `limit` runs, and the offset behind them if there are more. */
async function take(
  runs: AsyncIterable<ProvenanceRun>,
  limit: number,
): Promise<{ taken: ProvenanceRun[]; next: number | null }> {
  const taken: ProvenanceRun[] = [];
  for await (const run of runs) {
    if (taken.length === limit) return { taken, next: run.offset };
    taken.push(run);
  }
  return { taken, next: null };
}

async function describe(runs: readonly ProvenanceRun[], columns: number): Promise<string> {
  const rows = runs.map((run) => [String(run.offset), formatSize(run.length), ...wordsOf(run)]);
  const options = { head: ['offset', 'length', 'what', 'where'], right: [0, 1], text: 2, columns };
  const { picture, legend } = drawProvenance(runs);
  return `${await fitTable(rows, options)}\n\n[${picture}]\n ${legend}`;
}

export function provenanceCommand(shell: Shell): Command {
  const command = new Command('provenance')
    .description('tell where the bytes of a region are from: untouched, filled, read, written')
    .argument('<region>', 'name of the region')
    .option(
      '--limit <runs>',
      `runs to tell at most (default: ${TABLE_RUNS}, with --json ${JSON_RUNS})`,
      integer(1, LIMIT_MAX),
    );
  return withConnection(withRange(command)).action(async (name: string, options: Options) => {
    const { control, wait, region } = regionTarget(name, options, shell);
    const { offset, length, limit = options.json ? JSON_RUNS : TABLE_RUNS } = options;
    let told: Provenance | undefined;
    const ask = async (from: number) => {
      const query = {
        offset: String(from),
        ...(length !== undefined && { length: String(offset + length - from) }),
        limit: String(Math.min(limit + 1, STEP_RUNS)),
      };
      const answer = await control.call('provenance', { ...wait, params: { region }, query });
      told ??= answer;
      return answer;
    };
    const { taken, next } = await take(provenanceRuns(ask, offset), limit);
    if (options.json) {
      shell.out.object({ ...told, runs: taken, next });
      return;
    }
    shell.out.line(await describe(taken, shell.out.width));
    if (next !== null) shell.out.line(` … and more: --offset ${next}, or a larger --limit`);
  });
}
