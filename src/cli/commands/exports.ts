/** `farpage exports`: the ports that serve one region each to any RDMA program. */
import { Command } from 'commander';
import type { Exported } from '../../control/schema.js';
import { formatSize } from '../../units.js';
import {
  type ConnectionOptions,
  regionTarget,
  type Shell,
  targetOf,
  withConnection,
} from '../options.js';
import { fitTable } from '../table.js';

async function all(options: ConnectionOptions, shell: Shell): Promise<Exported[]> {
  const { control, wait } = targetOf(options, shell);
  const { regions } = await control.call('regions', wait);
  return regions.flatMap(({ exports = [] }) => exports);
}

async function ofOne(
  name: string,
  { options, shell }: { options: ConnectionOptions; shell: Shell },
): Promise<Exported[]> {
  const { control, wait, region } = regionTarget(name, options, shell);
  return (await control.call('exports', { ...wait, params: { region } })).exports;
}

export function exportsCommand(shell: Shell): Command {
  const command = new Command('exports')
    .description('list the ports that `farpage export` has opened')
    .argument('[region]', 'name of the region; all of them by default');
  return withConnection(command).action(
    async (name: string | undefined, options: ConnectionOptions) => {
      const exports =
        name === undefined ? await all(options, shell) : await ofOne(name, { options, shell });
      if (options.json) {
        for (const each of exports) shell.out.object(each);
        return;
      }
      if (exports.length === 0) {
        shell.out.note('there are no exports; `farpage export` opens a port');
        return;
      }
      const rows = exports.map(({ region, host, port, access, stag, size }) => [
        region,
        host,
        String(port),
        access,
        `0x${stag.toString(16)}`,
        formatSize(size),
      ]);
      const head = ['region', 'host', 'port', 'access', 'stag', 'size'];
      // What nobody can do without to use a port stays longest.
      const fit = { columns: shell.out.width, text: 0, spare: [5, 3] };
      shell.out.line(await fitTable(rows, { head, right: [2, 4, 5], ...fit }));
    },
  );
}
