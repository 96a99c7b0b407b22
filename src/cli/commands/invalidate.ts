/** `farpage invalidate`: forget pages; the next touch fills them again. */
import { Command } from 'commander';
import { formatPages } from '../../units.js';
import { type DirtyOptions, dirtyOf, type Shell, withDirty } from '../options.js';
import { rangeCommand } from '../range-command.js';

export function invalidateCommand(shell: Shell): Command {
  const command = new Command('invalidate').description(
    'forget pages, so that the next touch fills them again; refused if one is dirty',
  );
  return rangeCommand(withDirty(command), shell, {
    call: (control, { wait, params, range }, given: DirtyOptions) => {
      const body = { ...range, dirty: dirtyOf(given) ?? 'refuse' } as const;
      return control.call('invalidate', { ...wait, params, body });
    },
    describe: ({ region, pagesInvalidated, pagesWritten, elapsedMs }) => {
      const written = pagesWritten > 0 ? `, ${pagesWritten} written back` : '';
      return `${region}: ${formatPages(pagesInvalidated)}${written}, ${elapsedMs} ms`;
    },
  });
}
