/** What `flush` and `sync` share. */
import { Command } from 'commander';
import type { Receipt } from '../control/schema.js';
import { formatSize } from '../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from './options.js';

function describe(receipt: Receipt): string {
  const { region, pagesWritten, bytesWritten, durable, elapsedMs } = receipt;
  const state = durable ? 'durable' : 'not yet durable';
  return `${region}: ${pagesWritten} pages, ${formatSize(bytesWritten)}, ${elapsedMs} ms, ${state}`;
}

/** A command that writes back the ranges of one or more regions, one after the other. */
export function writeBackCommand(
  route: 'flush' | 'sync',
  options: { description: string; shell: Shell },
): Command {
  const { shell } = options;
  const command = new Command(route)
    .description(options.description)
    .argument('<region...>', 'names of the regions');
  return withConnection(withRange(command)).action(
    async (names: string[], given: ConnectionOptions & RangeOptions) => {
      for (const name of names) {
        const { control, wait, region } = regionTarget(name, given, shell);
        const { offset, length } = given;
        const body = { offset, ...(length !== undefined && { length }) };
        const receipt = await control.call(route, { ...wait, params: { region }, body });
        if (given.json) shell.out.object(receipt);
        else shell.out.line(describe(receipt));
      }
    },
  );
}
