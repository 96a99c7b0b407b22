/** Rows as a table for people. */
import { renderTable } from '../table.js';
import { type Comparison, compare, type SavedRow } from './compare.js';
import type { Row, Target, Unit } from './row.js';

const SCALES: Readonly<Record<Unit, readonly (readonly [number, string])[]>> = {
  us: [
    [1e6, ' s'],
    [1e3, ' ms'],
    [0, ' us'],
  ],
  ms: [
    [1e3, ' s'],
    [0, ' ms'],
  ],
  '/s': [
    [1e6, ' M/s'],
    [1e3, ' k/s'],
    [0, ' /s'],
  ],
  'B/s': [
    [1e9, ' GB/s'],
    [1e6, ' MB/s'],
    [0, ' B/s'],
  ],
  B: [
    [2 ** 20, ' MiB'],
    [2 ** 10, ' KiB'],
    [0, ' B'],
  ],
  '%': [[0, ' %']],
};

/** A figure with three digits and the unit that suits its size. */
export function formatFigure(value: number | null, unit: Unit): string {
  if (value === null || !Number.isFinite(value)) return '-';
  const [from, name] = SCALES[unit].find(([least]) => Math.abs(value) >= least) ?? [0, ''];
  const scaled = from === 0 ? value : value / from;
  const digits = Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return scaled.toFixed(digits) + name;
}

/** A target as a person says it: `<= 1.10`, `<= raw + 1.50 us`, `>= 600 k/s`. */
export function formatTarget(target: Target | null, unit: Unit): string {
  if (target === null) return '';
  const { of, most, least } = target;
  const bound = most ?? least ?? Number.NaN;
  const sign = most === undefined ? '>=' : '<=';
  if (of === 'ratio') return `${sign} ${bound.toFixed(2)} x`;
  return `${sign} ${of === 'difference' ? 'raw + ' : ''}${formatFigure(bound, unit)}`;
}

function formatComparison(row: Row, comparison: Comparison | undefined): string {
  if (comparison === undefined) return '-';
  const { of, before, change, worse } = comparison;
  const was = of === 'ratio' ? before.toFixed(2) : formatFigure(before, row.unit);
  const percent = Math.round((change - 1) * 100);
  return `${was} (${percent > 0 ? '+' : ''}${percent} %)${worse ? ' worse' : ''}`;
}

/** `saved`: those to compare with. */
export async function renderRows(
  rows: readonly Row[],
  saved?: readonly SavedRow[],
): Promise<string> {
  const cells = rows.map((row) => [
    row.work,
    formatFigure(row.farpage, row.unit),
    formatFigure(row.raw, row.unit),
    row.ratio === null ? '' : row.ratio.toFixed(2),
    formatTarget(row.target, row.unit),
    row.verdict === 'told' ? '' : row.verdict,
    ...(saved === undefined ? [] : [formatComparison(row, compare(row, saved))]),
    row.note ?? '',
  ]);
  const before = saved === undefined ? [] : ['before'];
  const head = ['work', 'farpage', 'raw', 'ratio', 'target', '', ...before, ''];
  return await renderTable(cells, { head, right: [1, 2, 3] });
}
