/** `farpage demote` and `farpage promote`: pages out of memory, and back from the tiers. */
import { Command } from 'commander';
import { formatPages } from '../../units.js';
import type { Shell } from '../options.js';
import { rangeCommand } from '../range-command.js';

export function demoteCommand(shell: Shell): Command {
  const command = new Command('demote').description(
    'move pages out of memory: clean ones go, dirty ones into the tiers',
  );
  return rangeCommand(command, shell, {
    call: (control, { wait, params, range }) =>
      control.call('demote', { ...wait, params, body: range }),
    describe: ({ region, pagesDemoted }) => `${region}: ${formatPages(pagesDemoted)}`,
  });
}

export function promoteCommand(shell: Shell): Command {
  const command = new Command('promote').description(
    'bring pages back from the tiers as far as there is memory',
  );
  return rangeCommand(command, shell, {
    call: (control, { wait, params, range }) =>
      control.call('promote', { ...wait, params, body: range }),
    describe: ({ region, pagesPromoted }) => `${region}: ${formatPages(pagesPromoted)}`,
  });
}
