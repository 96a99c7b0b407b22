/** `farpage reclaim`: the memory of clean pages back to the system, in one batch. */
import { Command } from 'commander';
import { formatSize, PAGE_BYTES } from '../../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from '../options.js';

export function reclaimCommand(shell: Shell): Command {
  const command = new Command('reclaim')
    .description('give the memory of clean pages back; dirty ones stay, and bytes are kept')
    .argument('<region...>', 'names of the regions');
  return withConnection(withRange(command)).action(
    async (names: string[], given: ConnectionOptions & RangeOptions) => {
      for (const name of names) {
        const { control, wait, region } = regionTarget(name, given, shell);
        const { offset, length } = given;
        const body = { offset, ...(length !== undefined && { length }) };
        const reply = await control.call('reclaim', { ...wait, params: { region }, body });
        const pages = reply.pagesReclaimed;
        if (given.json) shell.out.object(reply);
        else shell.out.line(`${region}: ${pages} pages, ${formatSize(pages * PAGE_BYTES)}`);
      }
    },
  );
}
