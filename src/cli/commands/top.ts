/** `farpage top`: what an appliance does, live on a terminal, or as samples for programs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { formatUrl } from '../../control/address.js';
import { TIMEOUT_MS } from '../../control/http-client.js';
import { FarpageError } from '../../errors.js';
import {
  type ConnectionOptions,
  duration,
  type Shell,
  type Target,
  targetOf,
  withConnection,
} from '../options.js';
import { plainOf } from '../top/frame.js';
import { type Reading, sampleOf } from '../top/sample.js';

/** Two readings are this far apart at least: closer ones tell nothing and cost the most. */
const INTERVAL_MS_MIN = 100;
/** An answer that takes longer than this is none: the screen says so and goes on. */
const PATIENCE_MS = 2000;

interface Options extends ConnectionOptions {
  readonly interval: number;
  readonly once?: true;
}

/** The figures of now. */
async function read({ control, wait }: Target): Promise<Reading> {
  const [{ regions }, tiers] = await Promise.all([
    control.call('regions', wait),
    control.call('tiers', wait),
  ]);
  return { atMs: performance.now(), regions, tiers };
}

function failureOf(error: unknown): { code: string; message: string } {
  if (!(error instanceof FarpageError) || error.code === 'ERR_ABORTED') throw error;
  return { code: error.code, message: error.message };
}

/** One sample a line, until nobody reads them any more; also what keeps one from being taken. */
async function stream(target: Target, { interval }: Options, { out, signal }: Shell) {
  let before: Reading | undefined = await read(target);
  while (!out.closed) {
    await sleep(interval, undefined, { signal });
    try {
      const now = await read(target);
      out.object(sampleOf(now, before));
      before = now;
    } catch (error) {
      out.object({ at: new Date().toISOString(), error: failureOf(error) });
      before = undefined;
    }
  }
}

async function once(target: Target, { interval, json }: Options, { out, signal }: Shell) {
  const before = await read(target);
  await sleep(interval, undefined, { signal });
  const sample = sampleOf(await read(target), before);
  if (json) out.object(sample);
  else out.line(await plainOf(sample, 'operations'));
}

async function watch(target: Target, options: Options, { env, signal }: Shell): Promise<void> {
  const { interval } = options;
  const { control, wait } = target;
  const { Top } = await import('../top/top.js');
  const title = `farpage top, ${formatUrl(target.address)}`;
  const first = await read(target);
  const top = new Top({
    title,
    first,
    color: !env.NO_COLOR,
    intervalMs: interval,
    read: () => read(target),
    cellsOf: async (region, cells) => {
      const query = { cells: String(cells) };
      const map = await control.call('pages', { ...wait, params: { region }, query });
      return Buffer.from(map.cells, 'base64');
    },
  });
  await top.run(signal);
}

export function topCommand(shell: Shell): Command {
  const command = new Command('top')
    .description('show what regions and tiers do, live; one sample where there is no terminal')
    .addOption(
      new Option('--interval <time>', 'between two readings')
        .argParser(duration)
        .default(2000, '2s'),
    )
    .option('--once', 'one sample, with the rates of one interval');
  return withConnection(command)
    .addHelpText('after', '\nWith --json: one object for each sample, on a line of its own.')
    .action(async (options: Options) => {
      if (options.interval < INTERVAL_MS_MIN) {
        throw new FarpageError('ERR_ARGUMENT', `an interval has ${INTERVAL_MS_MIN} ms at least`);
      }
      const { wait, ...found } = targetOf(options, shell);
      const longest = Math.max(options.interval, PATIENCE_MS);
      const { timeout = TIMEOUT_MS } = options;
      const patience = timeout === 0 ? longest : Math.min(timeout, longest);
      const target = { ...found, wait: { ...wait, timeoutMs: patience } };
      // A terminal that moves no cursor is none to draw on.
      const draws = shell.out.isTerminal && shell.env.TERM !== 'dumb';
      if (options.once || (!draws && !options.json)) {
        await once(target, options, shell);
      } else if (options.json) {
        await stream(target, options, shell);
      } else {
        await watch(target, options, shell);
      }
    });
}
