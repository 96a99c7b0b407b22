/** One frame of `farpage top` as lines of text, for a terminal of any size. */
import { styleText } from 'node:util';
import { formatSize, PAGE_BYTES } from '../../units.js';
import { legendOf, pictureOf } from '../page-picture.js';
import { renderTable } from '../table.js';
import { type Order, sorted } from './order.js';
import type { Rates, RegionSample, Sample } from './sample.js';

const HEAD = ['', 'region', 'size', 'present', 'dirty', 'tiers', 'lost', 'op/s', 'bytes/s'].concat([
  'faults/s',
  'hits',
  'filled/s',
  'written/s',
  'synced',
]);
const NAME_MAX = 24;
const SUMMARY_LINES_MAX = 3;
/** Columns that a narrow terminal does without, the first ones first. */
const SPARE = ['lost', 'tiers', 'size', 'bytes/s', 'synced', 'filled/s', 'written/s'];
/** Rows of the picture, as far as there is room. */
export const PICTURE_ROWS_MAX = 4;

/** A count in at most five characters. */
export function formatCount(value: number): string {
  const units = ['', ' k', ' M', ' G'];
  let at = 0;
  let rest = value;
  while (rest >= 999.5 && at < units.length - 1) {
    rest /= 1000;
    at++;
  }
  return `${rest >= 99.5 || at === 0 ? Math.round(rest) : rest.toFixed(1)}${units[at]}`;
}

/** How long ago, in one unit. */
export function formatAge(milliseconds: number | null): string {
  if (milliseconds === null) return '-';
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

const count = (value: number | null) => (value === null ? '-' : formatCount(value));
const bytes = (value: number | null) => (value === null ? '-' : formatSize(Math.round(value)));
const ratio = (value: number | null) => (value === null ? '-' : `${(value * 100).toFixed(1)} %`);
const inBytes = (pages: number) => formatSize(pages * PAGE_BYTES);

function rowOf(sample: RegionSample, isSelected: boolean): string[] {
  const { pages, rates } = sample;
  return [
    isSelected ? '>' : '',
    sample.name.length > NAME_MAX ? `${sample.name.slice(0, NAME_MAX - 1)}~` : sample.name,
    formatSize(sample.size),
    inBytes(pages.present),
    inBytes(pages.dirty),
    inBytes(pages.elsewhere),
    `${pages.lost + pages.unreachable}`,
    count(rates.operations),
    bytes(rates.bytes),
    count(rates.faults),
    ratio(rates.hitRatio),
    bytes(rates.filledBytes),
    bytes(rates.writtenBackBytes),
    formatAge(sample.syncAgeMs),
  ];
}

function summaryOf({ memory, regions, rates }: Sample): string {
  const dirty = regions.reduce((sum, { pages }) => sum + pages.dirty, 0);
  const pinned = regions.reduce((sum, { pages }) => sum + pages.pinned, 0);
  return [
    `memory ${inBytes(memory.pages)} of ${formatSize(memory.capacityBytes)}`,
    `${inBytes(dirty)} dirty`,
    ...(pinned > 0 ? [`${inBytes(pinned)} pinned`] : []),
    ...rateWords(rates),
    `tables ${formatSize(memory.tableBytes)}`,
    `process ${formatSize(memory.ownBytes)}`,
  ].join(', ');
}

/** A list in a few lines of whole words; what fits into none of them stays in the last. */
function folded(list: string, columns: number): string[] {
  const [first = '', ...words] = list.split(', ');
  const lines = [first];
  for (const word of words) {
    const longer = `${lines.at(-1)}, ${word}`;
    if (longer.length > columns && lines.length < SUMMARY_LINES_MAX) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

function rateWords(rates: Rates): string[] {
  if (rates.operations === null) return [];
  const hits = rates.hitRatio === null ? [] : [`hits ${ratio(rates.hitRatio)}`];
  const faults = `${count(rates.faults)} faults/s`;
  return [`${count(rates.operations)} op/s`, `${bytes(rates.bytes)}/s`, faults, ...hits];
}

function tierLines({ tiers }: Sample): string[] {
  return tiers.map(
    ({ kind, directory, pool, state, usedBytes, capacityBytes, pages, lostPages }) => {
      const name = pool === undefined ? `${kind}${directory ? ` in ${directory}` : ''}` : pool;
      const lost = lostPages > 0 ? `, ${lostPages} lost` : '';
      const how = state === undefined ? '' : `, ${state}`;
      const used = `${formatSize(usedBytes)} of ${formatSize(capacityBytes)}`;
      return `tier ${name}: ${used}, ${pages} pages${lost}${how}`;
    },
  );
}

/** The regions as a table, the selected one marked; no more than `rows` of them, it among these. */
export async function tableOf(
  sample: Sample,
  options: { order: Order; selected?: string | undefined; rows?: number; columns?: number },
): Promise<string[]> {
  const { order, selected, rows = Number.POSITIVE_INFINITY } = options;
  const { columns = Number.POSITIVE_INFINITY } = options;
  const all = sorted(sample.regions, order);
  const at = Math.max(
    all.findIndex(({ name }) => name === selected),
    0,
  );
  const first = Math.max(0, Math.min(at - Math.floor(rows / 2), all.length - rows));
  const shown = all.slice(first, first + rows);
  const table = shown.map((one) => rowOf(one, one.name === selected));
  for (let spared = 0; ; spared += 1) {
    const kept = HEAD.flatMap((name, at) => (SPARE.slice(0, spared).includes(name) ? [] : [at]));
    const cut = (row: readonly string[]) => kept.map((at) => row[at] ?? '');
    const right = kept.map((_, at) => at).slice(2);
    const lines = (await renderTable(table.map(cut), { head: cut(HEAD), right })).split('\n');
    const fits = lines.every((line) => line.trimEnd().length <= columns);
    if (fits || spared === SPARE.length) return lines;
  }
}

/** One sample for people, without a terminal. */
export async function plainOf(sample: Sample, order: Order): Promise<string> {
  const table = await tableOf(sample, { order });
  return [summaryOf(sample), ...tierLines(sample), '', ...table].join('\n');
}

export interface View {
  readonly columns: number;
  readonly rows: number;
  readonly title: string;
  readonly sample: Sample;
  readonly order: Order;
  readonly selected: string | undefined;
  /** Cells of the selected region. */
  readonly cells: Uint8Array | undefined;
  /** What keeps the figures from being of now. */
  readonly trouble: string | undefined;
  readonly color: boolean;
}

/** How many cells a picture has that fits. */
export function pictureSize({ columns, rows }: { columns: number; rows: number }): number {
  const width = Math.max(columns - 2, 1);
  return width * Math.max(1, Math.min(PICTURE_ROWS_MAX, Math.floor(rows / 6)));
}

function pictureLines({ cells, columns, selected }: View): string[] {
  if (cells === undefined || selected === undefined) return [];
  const picture = pictureOf(cells);
  const width = Math.max(columns - 2, 1);
  const lines: string[] = [];
  for (let at = 0; at < picture.length; at += width) {
    lines.push(`[${picture.slice(at, at + width)}]`);
  }
  return ['', `pages of ${selected}`, ...lines, ` ${legendOf(picture)}`];
}

/** The lines of a frame: as many as there are rows at most, none longer than a row. */
export async function frameOf(view: View): Promise<string[]> {
  const { columns, rows, sample, order, selected, trouble, color } = view;
  const told = trouble === undefined ? folded(summaryOf(sample), columns) : [trouble];
  const above = [view.title, ...told, ...tierLines(sample), ''];
  const keys = `q quit  arrows select  s sort (${order})`;
  const below = [...pictureLines(view), '', keys];
  const room = Math.max(rows - above.length - below.length - 1, 1);
  const table = await tableOf(sample, { order, selected, rows: room, columns });
  const lines = [...above, ...table, ...below].map((line) => line.slice(0, columns));
  // What is cut off where there is too little room is the picture, not the table.
  const fitting = lines.slice(0, Math.max(rows, 1));
  if (!color) return fitting;
  return fitting.map((line) => (line.startsWith('>') ? styleText('inverse', line) : line));
}
