/** `farpage receipt`: what the last start of the appliance found of its regions. */
import { Command } from 'commander';
import { describeStart } from '../../appliance/start-report.js';
import { fromFailure } from '../../control/message.js';
import type { RestartReceipt } from '../../control/schema.js';
import { FarpageError } from '../../errors.js';
import { formatCount } from '../../units.js';
import { forEachRegion, named, type RegionTarget } from '../each-region.js';
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
  const { syncRecord } = receipt;
  const pages = formatCount(kept.clean + kept.dirty, 'page');
  const memory = `${pages} kept in memory, ${kept.dirty} of them dirty`;
  const since = persist
    ? `lost what came after sync ${lostSince}`
    : 'begins anew: nothing keeps it';
  const unknown = 'lost what came after a sync that nobody knows';
  const lost = lostSince === null ? 'nothing lost' : syncRecord === 'whole' ? since : unknown;
  const named = conflicts.runs.map(({ offset, length }) => `${offset}+${length}`).join(' ');
  const conflict = conflicts.pages > 0 ? `, conflicts at ${named} in ${conflicts.file ?? ''}` : '';
  const touched = `${restored} restored and ${filled} filled since`;
  // A loss counts as one, so that nobody takes what comes after it for what was there before.
  const sync = lostSince !== null && epoch === lostSince + 1 ? 'no sync since' : `sync ${epoch}`;
  const before = syncRecord === 'whole' ? BEFORE[start] : `its sync record is ${syncRecord}`;
  return `${region}: ${before}, ${memory}, ${touched}, ${sync}, ${lost}${conflict}`;
}

type Failed = (region: string, error: FarpageError) => void;

/** Of all regions; before them, what the appliance itself found is told. */
async function tellAll(
  options: ConnectionOptions,
  shell: Shell,
  tell: (receipt: RestartReceipt) => void,
  failed: Failed,
): Promise<FarpageError[]> {
  const { control, wait } = targetOf(options, shell);
  // Paths of the appliance's files are its administrator's: TCP clients get the regions alone.
  if ('path' in control.address) {
    const start = await control.call('start', wait);
    if (options.json) shell.out.object(start);
    else shell.out.line(`started: ${describeStart(start)}`);
  }
  const { receipts } = await control.call('receipts', wait);
  const failures: FarpageError[] = [];
  for (const receipt of receipts) {
    if ('error' in receipt) {
      const failure = named(receipt.region, fromFailure(receipt.error));
      failures.push(failure);
      failed(receipt.region, failure);
    } else {
      tell(receipt);
    }
  }
  return failures;
}

export function receiptCommand(shell: Shell): Command {
  const command = new Command('receipt')
    .description('tell what the last start found: restored, kept, filled, lost, in conflict')
    .argument('[region...]', 'names of the regions; all of them by default');
  return withConnection(command).action(async (names: string[], options: ConnectionOptions) => {
    let told = 0;
    const tell = (receipt: RestartReceipt) => {
      told += 1;
      if (options.json) shell.out.object(receipt);
      else shell.out.line(describe(receipt));
    };
    const failed: Failed = (region, { code, message }) => {
      if (names.length === 1) return; // It is told by the end of the command.
      if (options.json) shell.out.object({ region, error: { code, message } });
      else shell.out.line(`${region}: unavailable: ${message}`);
    };
    const one = async ({ control, wait, region }: RegionTarget) =>
      tell(await control.call('receipt', { ...wait, params: { region } }));
    const targets = names.map((name) => regionTarget(name, options, shell));
    const failures =
      names.length > 0
        ? await forEachRegion(targets, one, failed)
        : await tellAll(options, shell, tell, failed);
    const [first, ...others] = failures;
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const regions = `${failures.length} of ${told + failures.length} regions are unavailable`;
    throw new FarpageError(first.code, regions);
  });
}
