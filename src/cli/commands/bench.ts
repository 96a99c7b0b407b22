/** `farpage bench`: both sides of every ratio, measured here and now. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { FarpageError } from '../../errors.js';
import { compare, readSaved } from '../bench/compare.js';
import { PLACEMENTS, type PlacementName } from '../bench/placement.js';
import { renderRows } from '../bench/render.js';
import { machineLine, RESULTS_FOLDER, saveResults } from '../bench/results.js';
import { runWorks, WORKS } from '../bench/run.js';
import type { Work } from '../bench/work.js';
import { duration, integer, type Shell, size } from '../options.js';

interface Options {
  readonly full?: true;
  readonly only?: readonly string[];
  readonly list?: true;
  readonly placement: PlacementName;
  readonly rounds: number;
  readonly duration?: number;
  readonly fileSize?: number;
  readonly waitForQuiet: number;
  readonly save?: true | string;
  readonly compare?: true | string;
  readonly json?: true;
}

const MIB = 1024 ** 2;
const QUICK = { fileBytes: 256 * MIB, durationMs: 60, totalMs: 35_000, retries: 0 };
const FULL = { fileBytes: 4096 * MIB, durationMs: 300, totalMs: 1_200_000, retries: 2 };
/** Placements are about who waits how over a connection; the rest is measured once. */
const PLACED = /^(read|write|fetch-add|compare-swap)/;

/** The measurement of that name, else all whose names begin so. */
function named(name: string): readonly Work[] {
  const exact = WORKS.filter((work) => work.name === name);
  return exact.length > 0 ? exact : WORKS.filter((work) => work.name.startsWith(name));
}

function collect(name: string, names: readonly string[] = []): readonly string[] {
  if (named(name).length > 0) return [...names, name];
  throw new InvalidArgumentError(`no measurement begins with "${name}"; see --list`);
}

function chosen({ full, only, placement }: Options): readonly Work[] {
  const wanted =
    only === undefined
      ? WORKS.filter(({ quick }) => full === true || quick)
      : [...new Set(only.flatMap(named))];
  if (placement === 'two-cores-polling') return wanted;
  return wanted.filter(({ name }) => PLACED.test(name));
}

async function bench(options: Options, shell: Shell): Promise<void> {
  const { out, signal } = shell;
  if (options.list) {
    for (const { name, quick } of WORKS) {
      if (options.json) out.object({ name, quick });
      else out.line(quick ? name : `${name} (with --full)`);
    }
    return;
  }
  // A package that was installed has no folder for results.
  const keeps = options.save === true || options.compare === true;
  if (keeps && !existsSync(dirname(RESULTS_FOLDER))) {
    throw new FarpageError('ERR_ARGUMENT', '--save and --compare need a file outside of a clone');
  }
  const saved =
    options.compare === undefined
      ? undefined
      : readSaved(options.compare === true ? RESULTS_FOLDER : options.compare);
  const works = chosen(options);
  if (works.length === 0) {
    throw new FarpageError('ERR_ARGUMENT', `nothing of that is measured ${options.placement}`);
  }
  const base = options.full ? FULL : QUICK;
  const machine = machineLine();
  if (options.json) out.object(machine);
  const rows = await runWorks({
    ...base,
    // What was asked for by name is measured to its end.
    ...(options.only !== undefined && { totalMs: FULL.totalMs }),
    ...(options.duration !== undefined && { durationMs: options.duration }),
    ...(options.fileSize !== undefined && { fileBytes: options.fileSize }),
    quietMs: options.waitForQuiet,
    placement: options.placement,
    rounds: options.rounds,
    works,
    signal,
    onRows(told) {
      if (options.json)
        for (const row of told)
          out.object({ ...row, ...(saved && { before: compare(row, saved) }) });
      else if (out.isWatched)
        out.note(told.map(({ work, verdict }) => `${work}: ${verdict}`).join('\n'));
    },
  });
  if (!options.json) {
    out.line(`${machine.machine.cpu}, ${machine.machine.cores} cores; ${options.placement}\n`);
    out.line(await renderRows(rows, saved));
  }
  if (options.save === undefined) return;
  const name = `${machine.machine.date.slice(0, 10)}.jsonl`;
  const path = options.save === true ? join(RESULTS_FOLDER, name) : options.save;
  saveResults(path, { machine, rows });
  out.note(`appended to ${path}`);
}

export function benchCommand(shell: Shell): Command {
  const placements = Object.keys(PLACEMENTS);
  return new Command('bench')
    .description('measure Farpage beside the smallest raw program that moves the same bytes')
    .option('--full', 'everything, long enough to be sure; some minutes')
    .addOption(new Option('--quick', 'what fits in 40 s (the default)').conflicts('full'))
    .option('--only <name>', 'that measurement, or all whose names begin so; repeatable', collect)
    .option('--list', 'print the names')
    .addOption(
      new Option('--placement <name>', 'who runs where, and how both sides wait')
        .choices(placements)
        .default('two-cores-polling'),
    )
    .option('--rounds <n>', 'rounds, in turn', integer(1, 100), 5)
    .option('--duration <time>', 'of each side of a round over a connection', duration)
    .option('--file-size <size>', 'of the files that are measured', size)
    .option('--wait-for-quiet <time>', 'wait so long in all for others on the machine', duration, 0)
    .option('--save [file]', 'append the results, with a line on the machine')
    .option(
      '--compare [file]',
      'beside what was saved last of the same work; in a clone by default',
    )
    .option('--json', 'print one JSON object per row')
    .action((options: Options) => bench(options, shell));
}
