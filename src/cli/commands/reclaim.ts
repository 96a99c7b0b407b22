/** `farpage reclaim`: the memory of clean pages back to the system, in one batch. */
import { Command } from 'commander';
import { formatPages } from '../../units.js';
import { type DirtyOptions, dirtyOf, type Shell, withDirty } from '../options.js';
import { rangeCommand } from '../range-command.js';

export function reclaimCommand(shell: Shell): Command {
  const command = new Command('reclaim').description(
    'give the memory of clean pages back; dirty ones stay, and bytes are kept',
  );
  return rangeCommand(withDirty(command), shell, {
    call: (control, { wait, params, range }, given: DirtyOptions) => {
      const body = { ...range, dirty: dirtyOf(given) ?? 'keep' } as const;
      return control.call('reclaim', { ...wait, params, body });
    },
    describe: ({ region, pagesReclaimed, pagesWritten, pagesDirty, pagesPinned, elapsedMs }) => {
      const written = pagesWritten > 0 ? `, ${pagesWritten} written back` : '';
      const dirty = pagesDirty > 0 ? `, ${pagesDirty} dirty ones stay` : '';
      const pinned = pagesPinned > 0 ? `, ${pagesPinned} pinned ones stay` : '';
      const stay = `${dirty}${pinned}`;
      return `${region}: ${formatPages(pagesReclaimed)}${written}, ${elapsedMs} ms${stay}`;
    },
  });
}
