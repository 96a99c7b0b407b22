/** `farpage tiers`: what memory and the levels below it hold. */
import { Command } from 'commander';
import type { TierList } from '../../control/schema.js';
import { formatSize, PAGE_BYTES } from '../../units.js';
import { type ConnectionOptions, type Shell, targetOf, withConnection } from '../options.js';
import { fitTable } from '../table.js';

const HEAD = ['tier', 'capacity', 'used', 'pages', 'holds', 'stored', 'loaded', 'demoted', 'lost'];

/** Columns that a narrow terminal does without, the first ones first. */
const SPARE = ['demoted', 'stored', 'loaded', 'holds', 'lost', 'pages', 'capacity'];

function nameOf({ kind, directory, pool, state }: TierList['tiers'][number]): string {
  if (directory !== undefined) return `${kind} in ${directory}`;
  return pool === undefined ? kind : `${pool}, ${state}`;
}

function rowsOf({ memory, tiers }: TierList): string[][] {
  const used = memory.pages * PAGE_BYTES;
  return [
    ['memory', formatSize(memory.capacityBytes), formatSize(used), `${memory.pages}`].concat(
      formatSize(used),
      ['', '', '', ''],
    ),
    ...tiers.map((tier) => [
      nameOf(tier),
      formatSize(tier.capacityBytes),
      formatSize(tier.usedBytes),
      `${tier.pages}`,
      formatSize(tier.pages * PAGE_BYTES),
      `${tier.storedPages}`,
      `${tier.loadedPages}`,
      `${tier.demotedPages}`,
      `${tier.lostPages}`,
    ]),
  ];
}

export function tiersCommand(shell: Shell): Command {
  const command = new Command('tiers').description('print what memory and the tiers below hold');
  return withConnection(command).action(async (options: ConnectionOptions) => {
    const { control, wait } = targetOf(options, shell);
    const list = await control.call('tiers', wait);
    if (options.json) {
      shell.out.object(list);
      return;
    }
    const right = HEAD.map((_, at) => at).slice(1);
    const spare = SPARE.map((name) => HEAD.indexOf(name));
    const fit = { columns: shell.out.width, text: 0, spare };
    shell.out.line(await fitTable(rowsOf(list), { head: HEAD, right, ...fit }));
    for (const { pool, error } of list.tiers) {
      if (error !== undefined) shell.out.line(`\n${pool}: ${error.message}`);
    }
    const { tableBytes, ownBytes } = list.memory;
    const beside = `the process beside it ${formatSize(ownBytes)}`;
    shell.out.line(`\ntables ${formatSize(tableBytes)} of the memory, ${beside}`);
    if (list.tiers.length === 0) shell.out.line('no tiers; `serve --tier` names some');
  });
}
