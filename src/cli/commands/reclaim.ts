/** `farpage reclaim`: the memory of clean pages back to the system, in one batch. */
import { Command } from 'commander';
import type { ReclaimReply } from '../../control/schema.js';
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

function describe(reply: ReclaimReply): string {
  const { region, pagesReclaimed: pages, pagesWritten, pagesDirty, elapsedMs } = reply;
  const written = pagesWritten > 0 ? `, ${pagesWritten} written back` : '';
  const dirty = pagesDirty > 0 ? `, ${pagesDirty} dirty ones stay` : '';
  return `${region}: ${formatPages(pages)}${written}, ${elapsedMs} ms${dirty}`;
}

export function reclaimCommand(shell: Shell): Command {
  const command = new Command('reclaim')
    .description('give the memory of clean pages back; dirty ones stay, and bytes are kept')
    .argument('<region...>', 'names of the regions');
  return withConnection(withDirty(withRange(command))).action(
    async (names: string[], given: ConnectionOptions & RangeOptions & DirtyOptions) => {
      for (const name of names) {
        const { control, wait, region } = regionTarget(name, given, shell);
        const body = { ...rangeOf(given), dirty: dirtyOf(given) ?? 'keep' } as const;
        const reply = await control.call('reclaim', { ...wait, params: { region }, body });
        if (given.json) shell.out.object(reply);
        else shell.out.line(describe(reply));
      }
    },
  );
}
