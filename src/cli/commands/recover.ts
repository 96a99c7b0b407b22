/** `farpage recover`: what was committed before a crash, to its files, without serving them. */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { type Recovery, recover } from '../../appliance/recover.js';
import { FarpageError, isErrorCode } from '../../errors.js';
import type { RecoveredFile } from '../../native/binding.js';
import { formatCount, formatPages } from '../../units.js';
import type { Shell } from '../options.js';

interface Options {
  readonly state?: string;
  readonly abandon?: true;
  readonly json?: true;
}

/** The name that a region has a file under: no symbolic link in it; the file may be missing. */
function nameOf(file: string): string {
  const path = resolve(file);
  try {
    return realpathSync(path);
  } catch {
    try {
      return join(realpathSync(dirname(path)), basename(path));
    } catch {
      return path;
    }
  }
}

interface Outcome {
  readonly file: string;
  readonly pages: number;
  readonly bytes: number;
  readonly outcome: 'whole' | 'recovered' | 'abandoned' | 'waiting';
  readonly code?: string;
}

const isOf = (file: string) => (part: RecoveredFile) => part.path === file;

function outcomeOf(file: string, { files, abandoned }: Recovery): Outcome {
  const parts = files.filter(isOf(file));
  const pages = parts.reduce((sum, part) => sum + part.pages, 0);
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const code = parts.find(({ failure }) => failure !== null)?.failure ?? undefined;
  if (abandoned.has(file)) return { file, pages, bytes: 0, outcome: 'abandoned' };
  if (code !== undefined) return { file, pages, bytes: 0, outcome: 'waiting', code };
  return { file, pages, bytes, outcome: pages === 0 ? 'whole' : 'recovered' };
}

function describe({ file, pages, bytes, outcome }: Outcome): string {
  if (outcome === 'whole') return `${file}: nothing was left to do`;
  if (outcome === 'abandoned')
    return `${file}: ${formatCount(pages, 'page')} of a committed sync abandoned`;
  if (outcome === 'recovered') return `${file}: ${formatPages(pages, bytes)}, recovered`;
  return `${file}: ${formatCount(pages, 'page')} of a committed sync wait for it`;
}

async function run(names: readonly string[], options: Options, { out }: Shell): Promise<void> {
  if (options.abandon && names.length === 0) {
    throw new FarpageError('ERR_ARGUMENT', '--abandon needs the files whose sync is given up');
  }
  const wanted = names.map(nameOf);
  const done = await recover({
    stateDirectory: options.state,
    abandon: options.abandon ? wanted : [],
  });
  const all = wanted.length > 0 ? wanted : [...new Set(done.files.map(({ path }) => path))];
  const unknown = wanted.find(
    (file) => !existsSync(file) && !done.files.some(isOf(file)) && !done.abandoned.has(file),
  );
  if (unknown !== undefined) throw new FarpageError('ERR_FILE_NOT_FOUND', unknown);
  const outcomes = all.map((file) => outcomeOf(file, done));
  if (outcomes.length === 0 && !options.json) out.line('nothing was left to do');
  for (const outcome of outcomes) {
    if (options.json) out.object(outcome);
    else out.line(describe(outcome));
  }
  const failed = outcomes.find(({ outcome }) => outcome === 'waiting');
  if (failed === undefined) return;
  const advice = 'put it as it was, or give that sync up with --abandon';
  const code = isErrorCode(failed.code) ? failed.code : 'ERR_IO';
  throw new FarpageError(
    code,
    `${failed.file}: ${formatCount(failed.pages, 'page')} wait for it; ${advice}`,
  );
}

export function recoverCommand(shell: Shell): Command {
  return new Command('recover')
    .description('bring what was committed before a crash to its files, without serving them')
    .argument('[file...]', 'files to tell about; all that have something to recover by default')
    .option('--state <directory>', 'state directory of the appliance, which must not run')
    .option('--abandon', 'forgets what cannot be brought to these files')
    .option('--json', 'print JSON, one object on a line')
    .action((names: string[], options: Options) => run(names, options, shell));
}
