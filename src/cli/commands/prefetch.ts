/** `farpage prefetch`: pages brought near before anybody asks for them. */
import { setTimeout } from 'node:timers/promises';
import { Command, Option } from 'commander';
import type { PrefetchReply } from '../../control/schema.js';
import { FarpageError, isErrorCode } from '../../errors.js';
import { formatPages, PAGE_BYTES } from '../../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  type Target,
  withConnection,
  withRange,
} from '../options.js';
import { startProgress } from '../progress.js';

/** Between two looks at how far it is. */
const LOOK_MS = 100;

interface Options extends ConnectionOptions, RangeOptions {
  readonly wait?: true;
  readonly cancel?: true;
}

const WORDS: Readonly<Record<PrefetchReply['state'], string>> = {
  running: 'goes on in the background',
  done: 'done',
  partial: 'memory is full, the rest comes when it is touched',
  cancelled: 'cancelled',
  failed: 'failed',
};

function describe({ region, pages, state }: PrefetchReply): string {
  if (state === 'running') return `${region}: ${pages.total} pages, ${WORDS[state]}`;
  const brought = `${formatPages(pages.filled)} brought`;
  // It has passed over those that it had no room for.
  if (state === 'partial') return `${region}: ${brought} of ${pages.total} pages; ${WORDS[state]}`;
  return `${region}: ${pages.passed} of ${pages.total} pages, ${brought}; ${WORDS[state]}`;
}

/** Looks until it has ended, with a bar where somebody watches. */
async function waitFor(
  begun: PrefetchReply,
  { control, wait, region }: Target & { region: string },
  shell: Shell,
): Promise<PrefetchReply> {
  using bar = await startProgress(shell.out, begun.pages.total * PAGE_BYTES);
  let now = begun;
  while (now.state === 'running') {
    await setTimeout(LOOK_MS, undefined, { signal: shell.signal });
    const { prefetches } = await control.call('prefetches', { ...wait, params: { region } });
    const found = prefetches.find(({ id }) => id === begun.id);
    if (found === undefined) throw new FarpageError('ERR_SESSION_ENDED', `prefetch of ${region}`);
    now = found;
    bar.update(now.pages.passed * PAGE_BYTES);
  }
  return now;
}

async function begin(
  target: Target & { region: string },
  { offset, length, wait: waits }: Options,
  shell: Shell,
): Promise<PrefetchReply> {
  const { control, wait, region } = target;
  const body = { offset, ...(length !== undefined && { length }) };
  const begun = await control.call('prefetch', { ...wait, params: { region }, body });
  return waits ? await waitFor(begun, target, shell) : begun;
}

async function prefetch(name: string, options: Options, shell: Shell): Promise<void> {
  const target = regionTarget(name, options, shell);
  const { control, wait, region } = target;
  const params = { region };
  const tell = (reply: PrefetchReply) => {
    if (options.json) shell.out.object(reply);
    else shell.out.line(describe(reply));
  };
  if (options.cancel) {
    const { prefetches } = await control.call('cancelPrefetch', { ...wait, params });
    for (const reply of prefetches) tell(reply);
    return;
  }
  const reply = await begin(target, options, shell).catch((cause: unknown) => {
    if (!shell.signal.aborted) throw cause;
    const how = `\`farpage prefetch ${region} --cancel\` ends it`;
    throw new FarpageError('ERR_ABORTED', `it goes on in the appliance; ${how}`, { cause });
  });
  if (reply.error !== undefined) {
    const { code } = reply.error;
    const come = `${region}, ${reply.pages.passed} of ${reply.pages.total} pages are here`;
    throw new FarpageError(isErrorCode(code) ? code : 'ERR_INTERNAL', come);
  }
  tell(reply);
}

export function prefetchCommand(shell: Shell): Command {
  const command = new Command('prefetch')
    .description('bring pages near in the background; of a copy, all that its source still has')
    .argument('<region>', 'name of the region')
    .option('--wait', 'until it has ended; without it, returns at once')
    .addOption(new Option('--cancel', 'end those under way').conflicts('wait'));
  return withConnection(withRange(command)).action(async (name: string, options: Options) => {
    await prefetch(name, options, shell);
  });
}
