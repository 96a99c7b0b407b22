/** `farpage invalidate`: forget pages; the next touch fills them again. */
import { Command } from 'commander';
import { formatPages } from '../../units.js';
import {
  type ConnectionOptions,
  type DirtyOptions,
  dirtyOf,
  type RangeOptions,
  rangeOf,
  regionTarget,
  type Shell,
  withConnection,
  withDirty,
  withRange,
} from '../options.js';

export function invalidateCommand(shell: Shell): Command {
  const command = new Command('invalidate')
    .description('forget pages, so that the next touch fills them again; refused if one is dirty')
    .argument('<region...>', 'names of the regions');
  return withConnection(withDirty(withRange(command))).action(
    async (names: string[], given: ConnectionOptions & RangeOptions & DirtyOptions) => {
      for (const name of names) {
        const { control, wait, region } = regionTarget(name, given, shell);
        const body = { ...rangeOf(given), dirty: dirtyOf(given) ?? 'refuse' } as const;
        const reply = await control.call('invalidate', { ...wait, params: { region }, body });
        const { pagesInvalidated: pages, pagesWritten, elapsedMs } = reply;
        const written = pagesWritten > 0 ? `, ${pagesWritten} written back` : '';
        const text = `${formatPages(pages)}${written}, ${elapsedMs} ms`;
        if (given.json) shell.out.object(reply);
        else shell.out.line(`${region}: ${text}`);
      }
    },
  );
}
