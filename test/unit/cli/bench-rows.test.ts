import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compare, readSaved } from '../../../src/cli/bench/compare.js';
import { formatFigure, formatTarget, renderRows } from '../../../src/cli/bench/render.js';
import { makeRow, skippedRow } from '../../../src/cli/bench/row.js';
import { median, quantile, spread } from '../../../src/cli/bench/statistics.js';
import { codeOf } from '../../helpers/codes.js';
import { scratch } from '../../helpers/scratch.js';

const HEAD = { name: 'a', work: 'some work', placement: 'here', unit: 'us' } as const;

/** Rounds of a figure each, beside a raw side of 10. */
const beside = (figures: readonly number[], raw = 10) =>
  figures.map((farpage) => ({ farpage, raw }));

describe('statistics', () => {
  it('take the middle of any order, and the mean of two middles', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 100, 1, 2])).toBe(3);
    expect(median([])).toBeNaN();
  });

  it('leave what they were given as it is', () => {
    const values = [3, 1, 2];
    median(values);
    quantile(values, 0.5);
    expect(values).toEqual([3, 1, 2]);
  });

  it('find quantiles by numbers, not by texts', () => {
    const values = Float64Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(quantile(values, 0.5)).toBe(50);
    expect(quantile(values, 0.99)).toBe(99);
    expect(quantile(values, 1)).toBe(100);
    expect(quantile([], 0.5)).toBeNaN();
  });

  it('tell how far apart values are', () => {
    expect(spread([2, 3, 2.5])).toBe(1.5);
  });
});

describe('a row', () => {
  it('takes the median of the ratios, not the ratio of the medians', () => {
    const rounds = [
      { farpage: 10, raw: 10 },
      { farpage: 26, raw: 13 },
      { farpage: 24, raw: 12 },
    ];
    const row = makeRow({ ...HEAD, target: { of: 'ratio', most: 1.9 } }, rounds);
    expect(row).toMatchObject({ farpage: 24, raw: 12, ratio: 2, verdict: 'miss' });
  });

  it.each([
    ['ok', { of: 'ratio', most: 1.1 }, [11, 11, 11]],
    ['miss', { of: 'ratio', most: 1.1 }, [12, 12, 12]],
    ['ok', { of: 'ratio', least: 0.9 }, [9, 9, 30]],
    ['miss', { of: 'ratio', least: 0.9 }, [8, 8, 30]],
    ['ok', { of: 'difference', most: 1.5 }, [11, 11.5, 30]],
    ['miss', { of: 'difference', most: 1.5 }, [11, 11.6, 30]],
    ['ok', { of: 'figure', most: 25 }, [24, 25, 30]],
    ['miss', { of: 'figure', least: 600 }, [24, 25, 30]],
  ] as const)('is %s for %o of %o', (verdict, target, figures) => {
    expect(makeRow({ ...HEAD, target }, beside(figures)).verdict).toBe(verdict);
  });

  it('is noisy when the raw side spreads, whatever the ratio', () => {
    const rounds = [...beside([10, 10]), ...beside([16], 16)];
    expect(makeRow({ ...HEAD, target: { of: 'ratio', most: 2 } }, rounds).verdict).toBe('noisy');
    // A figure of its own does not rest on the raw side.
    expect(makeRow({ ...HEAD, target: { of: 'figure', most: 20 } }, rounds).verdict).toBe('ok');
  });

  it('needs neither a raw side nor a target', () => {
    const row = makeRow(HEAD, [{ farpage: 3 }]);
    expect(row).toMatchObject({ farpage: 3, raw: null, ratio: null, verdict: 'told' });
    expect(skippedRow(HEAD, 'no disk')).toMatchObject({ verdict: 'skipped', note: 'no disk' });
  });
});

describe('the table', () => {
  it.each([
    [7.234, 'us', '7.23 us'],
    [1234, 'us', '1.23 ms'],
    [3_812_345, '/s', '3.81 M/s'],
    [600_000, '/s', '600 k/s'],
    [5.8e9, 'B/s', '5.80 GB/s'],
    [11.5 * 1024, 'B', '11.5 KiB'],
    [0.04, '%', '0.04 %'],
    [null, 'ms', '-'],
    [Number.NaN, 'ms', '-'],
  ] as const)('shows %o %s as %s', (value, unit, text) => {
    expect(formatFigure(value, unit)).toBe(text);
  });

  it.each([
    [{ of: 'ratio', most: 1.1 }, 'us', '<= 1.10 x'],
    [{ of: 'difference', most: 1.5 }, 'us', '<= raw + 1.50 us'],
    [{ of: 'figure', least: 600_000 }, '/s', '>= 600 k/s'],
    [null, 'us', ''],
  ] as const)('shows the target %o in %s as %s', (target, unit, text) => {
    expect(formatTarget(target, unit)).toBe(text);
  });

  it('has a line for each row', async () => {
    const row = makeRow({ ...HEAD, target: { of: 'ratio', most: 1.1 } }, beside([10.5]));
    const text = await renderRows([row, skippedRow({ ...HEAD, work: 'other' }, 'no disk')]);
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^some work +10\.5 us +10\.0 us +1\.05 +<= 1\.10 x +ok$/);
    expect(lines[2]).toMatch(/^other .*skipped +no disk$/);
  });
});

describe('a row beside an earlier one', () => {
  const least = { of: 'ratio', least: 0.9 } as const;
  const most = { of: 'ratio', most: 1.1 } as const;
  const saved = (figures: readonly number[], work = 'some work') => ({
    work,
    placement: 'here',
    rounds: beside(figures),
  });

  it('is worse when its median is, by more than a tenth, and than every round before', () => {
    const told = (target: typeof most | typeof least, now: number[], before: number[]) =>
      compare(makeRow({ ...HEAD, target }, beside(now)), [saved(before)])?.worse;
    expect(told(most, [12, 13, 14], [10, 11, 10])).toBe(true);
    expect(told(most, [12, 13, 14], [10, 11, 13])).toBe(false); // one round was as bad before
    expect(told(most, [11, 11, 11], [10.5, 10.6, 10.7])).toBe(false); // by less than a tenth
    expect(told(most, [5, 5, 5], [10, 11, 10])).toBe(false);
    expect(told(least, [5, 5, 5], [10, 11, 10])).toBe(true);
    expect(told(least, [12, 13, 14], [10, 11, 10])).toBe(false);
  });

  it('is compared with the last one of the same work and placement', async () => {
    const row = makeRow({ ...HEAD, target: most }, beside([12]));
    const others = [saved([1]), saved([10]), saved([99], 'other work')];
    expect(compare(row, others)).toMatchObject({ of: 'ratio', before: 1, now: 1.2, worse: true });
    expect(compare(row, [saved([99], 'other work')])).toBeUndefined();
    expect(compare(row, [{ ...saved([99]), placement: 'there' }])).toBeUndefined();
    const table = await renderRows([row, skippedRow(HEAD, 'none')], others);
    expect(table).toMatch(/ before\n/);
    expect(table).toMatch(/1\.00 \(\+20 %\) worse\n/);
  });

  it('is found in a file of results, or in all files of a folder', async () => {
    const folder = scratch();
    const row = makeRow({ ...HEAD, target: most }, beside([12, 13]));
    writeFileSync(join(folder, '2.jsonl'), `{"machine":{}}\n${JSON.stringify(row)}\n`);
    writeFileSync(join(folder, '1.jsonl'), `${JSON.stringify({ ...row, work: 'older' })}\n{`);
    writeFileSync(join(folder, 'README.md'), 'no results');
    expect(readSaved(folder).map(({ work }) => work)).toEqual(['older', 'some work']);
    expect(readSaved(join(folder, '2.jsonl'))[0]?.rounds).toEqual(beside([12, 13]));
    expect(await codeOf(() => readSaved(join(folder, 'none')))).toBe('ERR_FILE_NOT_FOUND');
  });
});
