import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatCount,
  frameOf,
  pictureSize,
  plainOf,
  type View,
} from '../../../../src/cli/top/frame.js';
import { sampleOf } from '../../../../src/cli/top/sample.js';
import { readingOf, statOf } from '../../../helpers/region-stat.js';

const names = Array.from({ length: 40 }, (_, at) => `region-${String(at).padStart(2, '0')}`);
const before = readingOf(
  0,
  names.map((name) => statOf(name, {})),
);
const now = readingOf(
  1000,
  names.map((name, at) => statOf(name, { bypassed: 100 - at, dirty: at })),
);
const sample = sampleOf(now, before);

function viewOf(changes: Partial<View>): View {
  return {
    columns: 140,
    rows: 30,
    title: 'farpage top',
    sample,
    order: 'operations',
    selected: 'region-20',
    cells: new Uint8Array([1, 2, 0, 64]),
    trouble: undefined,
    color: false,
    ...changes,
  };
}

describe('frameOf', () => {
  it('shows regions around the selected one, its pages and the keys', async () => {
    const lines = await frameOf(viewOf({}));
    expect(lines[0]).toBe('farpage top');
    expect(lines[1]).toMatch(/^memory 40 KiB of 1 GiB, .* dirty, 3\.2 k op\/s/);
    expect(lines[1]).toMatch(/, tables 8 KiB, process 50 MiB$/);
    expect(lines.filter((line) => line.startsWith('>'))).toEqual([
      expect.stringMatching(/^> +region-20 /),
    ]);
    expect(lines).toContain('[RW.t]');
    expect(lines).toContain(' t in a tier  W written  R read  . absent');
    expect(lines.at(-1)).toBe('q quit  arrows select  s sort (operations)');
  });

  it.each([
    [140, 30],
    [80, 24],
    [40, 10],
    [10, 3],
    [1, 1],
  ])('fits %i columns and %i rows', async (columns, rows) => {
    for (const selected of ['region-00', 'region-39', undefined]) {
      const cells = new Uint8Array(pictureSize({ columns, rows }));
      const lines = await frameOf(viewOf({ columns, rows, selected, cells }));
      expect(lines.length).toBeLessThanOrEqual(rows);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
      if (rows >= 24 && selected !== undefined) {
        expect(lines.some((line) => line.startsWith('>') && line.includes(selected))).toBe(true);
      }
    }
  });

  it.each([
    [60, 'present dirty op/s faults/s hits'],
    [80, 'present dirty op/s faults/s hits filled/s written/s'],
    [100, 'size present dirty op/s bytes/s faults/s hits filled/s written/s synced'],
  ])('leaves out whole columns, and cuts none, where there are %i', async (columns, kept) => {
    const lines = await frameOf(viewOf({ columns, rows: 24 }));
    const head = lines.find((line) => line.includes('region ')) ?? '';
    expect(head.trim().split(/ +/)).toEqual(['region', ...kept.split(' ')]);
    const row = lines.find((line) => line.startsWith('>')) ?? '';
    expect(row.length).toBeLessThanOrEqual(columns);
    expect(row.slice(1).trim().split(/ {2,}/)).toHaveLength(kept.split(' ').length + 1);
    expect(lines.slice(1, 4).join('\n')).toMatch(/process 50 MiB$/m);
  });

  it('says what is wrong in place of figures that are old', async () => {
    const lines = await frameOf(viewOf({ trouble: 'no figures since 12:00:00: gone' }));
    expect(lines[1]).toBe('no figures since 12:00:00: gone');
    expect(lines.some((line) => line.startsWith('>'))).toBe(true);
  });

  it('shows nothing of regions where there are none', async () => {
    const none = sampleOf(readingOf(0, []), undefined);
    const lines = await frameOf(viewOf({ sample: none, selected: undefined, cells: undefined }));
    expect(lines.join('\n')).toContain('0 B dirty');
  });
});

describe('plainOf', () => {
  it('has all regions and no marks', async () => {
    const text = await plainOf(sample, 'name');
    for (const name of names) expect(text).toContain(name);
    expect(text).not.toContain('>');
  });
});

describe('figures for people', () => {
  it.each([
    [0, '0'],
    [9.4, '9'],
    [999, '999'],
    [999.6, '1.0 k'],
    [1234, '1.2 k'],
    [123_456, '123 k'],
    [5.5e9, '5.5 G'],
  ])('%d is %s', (value, text) => {
    expect(formatCount(value)).toBe(text);
  });

  it.each([
    [null, '-'],
    [999, '0 s'],
    [61_000, '1 m'],
    [7_200_000, '2 h'],
    [200_000_000, '2 d'],
  ])('%s ms ago is %s', (value, text) => {
    expect(formatAge(value)).toBe(text);
  });
});
