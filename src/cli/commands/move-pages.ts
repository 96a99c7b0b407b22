/** `farpage demote` and `farpage promote`: pages out of memory, and back from the tiers. */
import { Command } from 'commander';
import type { DemoteReply } from '../../control/schema.js';
import { formatAge, formatPages } from '../../units.js';
import { age, type Shell } from '../options.js';
import { rangeCommand } from '../range-command.js';

export function demoteCommand(shell: Shell): Command {
  const command = new Command('demote').description(
    'move pages out of memory: clean ones go, dirty ones into the tiers',
  );
  command.option('--cold <age>', 'only what nobody has used for 30s, 10m, 2h, 1d …', age);
  return rangeCommand<{ cold?: number }, DemoteReply>(command, shell, {
    call: (control, { wait, params, range }, { cold }) =>
      control.call('demote', {
        ...wait,
        params,
        body: { ...range, ...(cold !== undefined && { coldMs: cold }) },
      }),
    describe: ({ region, pagesDemoted, pagesPinned, coldMs }) => {
      const unused = coldMs === undefined ? '' : `, unused for ${formatAge(coldMs)} or longer`;
      const pinned = pagesPinned > 0 ? `, ${pagesPinned} pinned ones stay` : '';
      return `${region}: ${formatPages(pagesDemoted)}${unused}${pinned}`;
    },
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
