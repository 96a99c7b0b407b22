/** `farpage receipt`: what the last start of the appliance found of its regions. */
import { Command } from 'commander';
import type { RestartReceipt } from '../../control/schema.js';
import { type ConnectionOptions, regionTarget, type Shell, withConnection } from '../options.js';

function describe(receipt: RestartReceipt): string {
  const { region, start, kept, restored, filled, epoch, lostSince, conflicts } = receipt;
  const memory = `${kept.clean + kept.dirty} pages kept in memory, ${kept.dirty} of them dirty`;
  const lost = lostSince === null ? 'nothing lost' : `lost what came after sync ${lostSince}`;
  const named = conflicts.runs.map(({ offset, length }) => `${offset}+${length}`).join(' ');
  const conflict = conflicts.pages > 0 ? `, conflicts at ${named} in ${conflicts.file ?? ''}` : '';
  const since = `${restored} restored and ${filled} filled since`;
  return `${region}: ${start} start, ${memory}, ${since}, sync ${epoch}, ${lost}${conflict}`;
}

export function receiptCommand(shell: Shell): Command {
  const command = new Command('receipt')
    .description('tell what the last start found: restored, kept, filled, lost, in conflict')
    .argument('<region...>', 'names of the regions');
  return withConnection(command).action(async (names: string[], options: ConnectionOptions) => {
    for (const name of names) {
      const { control, wait, region } = regionTarget(name, options, shell);
      const receipt = await control.call('receipt', { ...wait, params: { region } });
      if (options.json) shell.out.object(receipt);
      else shell.out.line(describe(receipt));
    }
  });
}
