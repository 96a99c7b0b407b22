/** `farpage stat`: figures of one region and a small picture of its pages. */
import { Command } from 'commander';
import type { Exported, RegionStat } from '../../control/schema.js';
import { formatPages, formatSize } from '../../units.js';
import { type ConnectionOptions, regionTarget, type Shell, withConnection } from '../options.js';
import { legendOf, pictureOf } from '../page-picture.js';
import { fitTable } from '../table.js';

/** Where there is no terminal, and on one as few and as many at least and at most. */
const PICTURE_CELLS = 76;
const PICTURE_CELLS_MIN = 8;
const PICTURE_CELLS_MAX = 196;

/** As many as a line has, with the brackets around them. */
function pictureCells(columns: number): number {
  if (!Number.isFinite(columns)) return PICTURE_CELLS;
  return Math.min(Math.max(columns - 2, PICTURE_CELLS_MIN), PICTURE_CELLS_MAX);
}

const filled = (stat: RegionStat) => `${stat.fill} filled${stat.persist ? ', kept' : ''}`;

const portOf = ({ host, port, access }: Exported) => `${host}:${port}, ${access}`;

function origin(stat: RegionStat): string {
  if (stat.from === undefined) return stat.file?.path ?? filled(stat);
  const { url, connected, detached, needed } = stat.from;
  if (detached) return `copy of ${url}, detached`;
  const need = needed === undefined ? '' : `, which ${needed} pages need`;
  return `copy of ${url}, ${connected ? 'connected' : 'not connected'}${need}`;
}

/** Of mapped pages the kernel reads what is not in its page cache: nobody counts that. */
const from = ({ kind, fills }: RegionStat) =>
  kind === 'mapped' ? 'mapped from the file' : `${fills.read} read from a store`;

function rowsOf(stat: RegionStat): string[][] {
  const { pages, frames, operations, fills, writebacks, exports = [] } = stat;
  const counted = (group: { pages: number; bytes: number }) =>
    `${formatPages(group.pages, group.bytes)}`;
  const lost = pages.lost > 0 ? `, ${pages.lost} lost` : '';
  const away = pages.unreachable > 0 ? ` (${pages.unreachable} of them away)` : '';
  const pinned = pages.pinned > 0 ? `, ${pages.pinned} pinned` : '';
  const inTiers = pages.elsewhere > 0 ? `, ${pages.elsewhere} in tiers${away}` : '';
  return [
    ['region', stat.name],
    ['kind', `${stat.kind}${stat.atomic ? ', atomic' : ''}, ${origin(stat)}`],
    ['access', stat.access],
    ['state', stat.error ? `${stat.state}: ${stat.error.message}` : stat.state],
    ['reserved', `${formatSize(stat.reservedBytes)}, ${formatSize(stat.allocatedBytes)} allocated`],
    ['size', `${formatSize(stat.size)} (${stat.size} bytes)`],
    ['address', stat.address ?? 'none yet'],
    ['pages', `${pages.total} of ${formatSize(stat.pageSize)}${pinned}`],
    [
      'present',
      `${pages.present}, ${pages.dirty} dirty, ${pages.written} ever written${inTiers}${lost}`,
    ],
    ['frames', `${frames.used} of ${frames.max}, and ${frames.tables} of tables`],
    ['operations', `${operations.bypassed} bypassed, ${operations.faulted} faulted`],
    ['filled', `${counted(fills)}, ${from(stat)}`],
    ['written back', counted(writebacks)],
    ...(exports.length > 0 ? [['exports', exports.map(portOf).join('; ')]] : []),
  ];
}

export function statCommand(shell: Shell): Command {
  const command = new Command('stat')
    .description('print the figures of a region and a picture of its pages')
    .argument('<region>', 'name of the region');
  return withConnection(command).action(async (name: string, options: ConnectionOptions) => {
    const { control, wait, region } = regionTarget(name, options, shell);
    const stat = await control.call('stat', { ...wait, params: { region } });
    if (options.json) {
      shell.out.object(stat);
      return;
    }
    const { width: columns } = shell.out;
    shell.out.line(await fitTable(rowsOf(stat), { columns, text: 1 }));
    const cells = String(Math.min(pictureCells(columns), stat.pages.total));
    const map = await control.call('pages', { ...wait, params: { region }, query: { cells } });
    const picture = pictureOf(Buffer.from(map.cells, 'base64'));
    shell.out.line(`\n[${picture}]\n ${legendOf(picture)}`);
  });
}
