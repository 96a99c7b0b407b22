/** What `flush` and `sync` share. */
import { Command } from 'commander';
import type { Receipt } from '../control/schema.js';
import { formatPages } from '../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  type Target,
  withConnection,
  withRange,
} from './options.js';

interface RangeBody {
  readonly offset: number;
  readonly length?: number;
}

function describe(route: 'flush' | 'sync', receipt: Receipt): string {
  const { region, pagesWritten, bytesWritten, durable, elapsedMs } = receipt;
  // Of a sync that can only mean one thing.
  const not = route === 'flush' ? 'not yet durable' : 'not durable: nothing keeps this region';
  const state = durable ? 'durable' : not;
  const part = receipt.transaction ? `, transaction ${receipt.transaction}` : '';
  const written = `${formatPages(pagesWritten, bytesWritten)}`;
  return `${region}: ${written}, ${elapsedMs} ms, ${state}${part}`;
}

interface Wanted extends Target {
  readonly region: string;
}

/** Regions of one appliance that are synced by one call: atomic ones are one transaction then. */
async function syncAll(targets: readonly Wanted[], range: RangeBody): Promise<Receipt[]> {
  const [first] = targets;
  if (first === undefined) return [];
  const { control, patience } = first;
  const body = { regions: targets.map(({ region }) => region), ...range };
  return (await control.call('syncAll', { ...patience, body })).receipts;
}

/** A command that writes back the ranges of one or more regions. */
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
      const { offset, length } = given;
      const body = { offset, ...(length !== undefined && { length }) };
      const tell = (receipt: Receipt) => {
        if (given.json) shell.out.object(receipt);
        else shell.out.line(describe(route, receipt));
      };
      const targets = names.map((name) => regionTarget(name, given, shell));
      const appliances = new Set(targets.map(({ address }) => JSON.stringify(address)));
      if (route === 'sync' && names.length > 1 && appliances.size === 1) {
        for (const receipt of await syncAll(targets, body)) tell(receipt);
        return;
      }
      for (const { control, patience, region } of targets) {
        tell(await control.call(route, { ...patience, params: { region }, body }));
      }
    },
  );
}
