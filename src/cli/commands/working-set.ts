/** `farpage working-set`: the pages in use, recorded, and brought near after a restart. */
import { Command, Option } from 'commander';
import type { WorkingSetReply } from '../../control/schema.js';
import { formatAge, formatPages } from '../../units.js';
import {
  age,
  type ConnectionOptions,
  regionTarget,
  type Shell,
  withConnection,
} from '../options.js';

interface Options extends ConnectionOptions {
  readonly record?: number | true;
  readonly save?: true;
  readonly replay?: true;
  readonly forget?: true;
}

function describe({ region, state, pages, bytes, hotPages, leftMs, ...rest }: WorkingSetReply) {
  const left = leftMs === null ? '' : ` for ${formatAge(Math.ceil(leftMs / 1000) * 1000)} more`;
  const saved = rest.savedAt === null ? '' : `, ${rest.savedAt}`;
  const set = pages === 0 ? '' : `, ${formatPages(pages, bytes)}, ${hotPages} used again${saved}`;
  const { replay, error } = rest;
  const near =
    replay === undefined ? '' : `, replay ${replay.state}: ${replay.pages.filled} pages brought`;
  const why = error === undefined ? '' : `; ${error.message} [${error.code}]`;
  return `${region}: ${state}${left}${set}${near}${why}`;
}

function actionOf({ record, save, replay }: Options) {
  if (record === true) return { action: 'record' } as const;
  if (record !== undefined) return { action: 'record', recordMs: record } as const;
  if (save) return { action: 'save' } as const;
  return replay ? ({ action: 'replay' } as const) : undefined;
}

async function workingSet(name: string, options: Options, shell: Shell): Promise<void> {
  const { control, wait, region } = regionTarget(name, options, shell);
  const call = { ...wait, params: { region } };
  const body = actionOf(options);
  const reply = options.forget
    ? await control.call('forgetWorkingSet', call)
    : body === undefined
      ? await control.call('workingSet', call)
      : await control.call('useWorkingSet', { ...call, body });
  if (options.json) shell.out.object(reply);
  else shell.out.line(describe(reply));
}

export function workingSetCommand(shell: Shell): Command {
  const command = new Command('working-set')
    .description('pages in use: recorded, and brought near at each later start of the appliance')
    .argument('<region>', 'name of the region')
    .addOption(
      new Option('--record [time]', 'save what is used from now on, after 2m or so long')
        .argParser(age)
        .conflicts(['save', 'replay', 'forget']),
    )
    .addOption(new Option('--save', 'save what was used so far').conflicts(['replay', 'forget']))
    .addOption(new Option('--replay', 'bring what was saved near now').conflicts('forget'))
    .option('--forget', 'delete what was saved');
  return withConnection(command).action(async (name: string, options: Options) => {
    await workingSet(name, options, shell);
  });
}
