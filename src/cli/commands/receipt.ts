/** `farpage receipt`: what the last start of the appliance found of its regions. */
import { Command } from 'commander';
import { describeStart } from '../../appliance/start-report.js';
import type { RestartReceipt } from '../../control/schema.js';
import { FarpageError } from '../../errors.js';
import { formatCount } from '../../units.js';
import { forEachRegion } from '../each-region.js';
import {
  type ConnectionOptions,
  regionTarget,
  type Shell,
  targetOf,
  withConnection,
} from '../options.js';

/** How the process ended that had the region open last, which may be long ago. */
const BEFORE: Readonly<Record<RestartReceipt['start'], string>> = {
  first: 'used by no process before',
  clean: 'closed when it was used last',
  unclean: 'its last process died',
};

function describe(receipt: RestartReceipt): string {
  const { region, persist, start, kept, restored, filled, epoch, lostSince, conflicts } = receipt;
  const pages = formatCount(kept.clean + kept.dirty, 'page');
  const memory = `${pages} kept in memory, ${kept.dirty} of them dirty`;
  const since = persist
    ? `lost what came after sync ${lostSince}`
    : 'begins anew: nothing keeps it';
  const lost = lostSince === null ? 'nothing lost' : since;
  const named = conflicts.runs.map(({ offset, length }) => `${offset}+${length}`).join(' ');
  const conflict = conflicts.pages > 0 ? `, conflicts at ${named} in ${conflicts.file ?? ''}` : '';
  const touched = `${restored} restored and ${filled} filled since`;
  // A loss counts as one, so that nobody takes what comes after it for what was there before.
  const sync = lostSince !== null && epoch === lostSince + 1 ? 'no sync since' : `sync ${epoch}`;
  return `${region}: ${BEFORE[start]}, ${memory}, ${touched}, ${sync}, ${lost}${conflict}`;
}

/** All regions; before them, what the appliance itself found is told. */
async function allNames(options: ConnectionOptions, shell: Shell): Promise<string[]> {
  const { control, wait } = targetOf(options, shell);
  // Paths of the appliance's files are its administrator's: TCP clients get the regions alone.
  if ('path' in control.address) {
    const start = await control.call('start', wait);
    if (options.json) shell.out.object(start);
    else shell.out.line(`started: ${describeStart(start)}`);
  }
  const { regions } = await control.call('regions', wait);
  return regions.map(({ name }) => name);
}

export function receiptCommand(shell: Shell): Command {
  const command = new Command('receipt')
    .description('tell what the last start found: restored, kept, filled, lost, in conflict')
    .argument('[region...]', 'names of the regions; all of them by default');
  return withConnection(command).action(async (named: string[], options: ConnectionOptions) => {
    const names = named.length > 0 ? named : await allNames(options, shell);
    const targets = names.map((name) => regionTarget(name, options, shell));
    const failures = await forEachRegion(
      targets,
      async ({ control, wait, region }) => {
        const receipt = await control.call('receipt', { ...wait, params: { region } });
        if (options.json) shell.out.object(receipt);
        else shell.out.line(describe(receipt));
      },
      (region, { code, message }) => {
        if (named.length === 1) return; // It is told by the end of the command.
        if (options.json) shell.out.object({ region, error: { code, message } });
        else shell.out.line(`${region}: unavailable: ${message}`);
      },
    );
    const [first, ...others] = failures;
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const regions = `${failures.length} of ${targets.length} regions are unavailable`;
    throw new FarpageError(first.code, regions);
  });
}
