/** `farpage regions`: what there is. */
import { Command } from 'commander';
import { formatSize } from '../../units.js';
import { type ConnectionOptions, type Shell, targetOf, withConnection } from '../options.js';
import { fitTable } from '../table.js';

const HEAD = ['region', 'kind', 'access', 'size', 'present', 'dirty', 'state'];
/** Columns that a narrow terminal does without, the first ones first. */
const SPARE = ['kind', 'access', 'dirty', 'present', 'size'];

export function regionsCommand(shell: Shell): Command {
  const command = new Command('regions').description('list the regions');
  return withConnection(command).action(async (options: ConnectionOptions) => {
    const { control, wait } = targetOf(options, shell);
    const { regions } = await control.call('regions', wait);
    if (options.json) {
      for (const region of regions) shell.out.object(region);
      return;
    }
    if (regions.length === 0) {
      shell.out.note('there are no regions; `farpage create` makes one');
      return;
    }
    const rows = regions.map(({ name, kind, access, size, pages, state }) => {
      const counts = [pages.present, pages.dirty].map(String);
      return [name, kind, access, formatSize(size), ...counts, state];
    });
    const spare = SPARE.map((name) => HEAD.indexOf(name));
    const fit = { columns: shell.out.width, text: 0, spare };
    shell.out.line(await fitTable(rows, { head: HEAD, right: [3, 4, 5], ...fit }));
  });
}
