/** `farpage protect`: which accesses a range permits, or what was said of it. */
import { Command, Option } from 'commander';
import type { Permission, Protection } from '../../control/schema.js';
import { formatSize } from '../../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  rangeOf,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from '../options.js';
import { renderTable } from '../table.js';

interface Options extends ConnectionOptions, RangeOptions {
  readonly access?: Permission;
}

async function describe({ region, ranges }: Protection): Promise<string> {
  if (ranges.length === 0) return `${region}: nothing is protected`;
  const rows = ranges.map(({ offset, length, access }) => [
    String(offset),
    formatSize(length),
    access,
  ]);
  return await renderTable([['offset', 'length', 'access'], ...rows]);
}

export function protectCommand(shell: Shell): Command {
  const command = new Command('protect')
    .description('permit certain accesses to a range and no others; without --access list them')
    .argument('<region>', 'name of the region')
    .addOption(
      new Option('--access <what>', 'what the range permits').choices([
        'none',
        'read',
        'read-write',
      ]),
    );
  return withConnection(withRange(command)).action(async (name: string, options: Options) => {
    const { control, wait, region } = regionTarget(name, options, shell);
    const { access } = options;
    const call = { ...wait, params: { region } };
    const reply =
      access === undefined
        ? await control.call('protection', call)
        : await control.call('protect', { ...call, body: { ...rangeOf(options), access } });
    if (options.json) shell.out.object(reply);
    else shell.out.line(await describe(reply));
  });
}
