import { describe, expect, it } from 'vitest';
import { fitTable, renderTable } from '../../../src/cli/table.js';

const HEAD = ['name', 'first', 'second'];
const ROWS = [
  ['one', '1', '22'],
  ['a name of several words and /one/that/is/longer/than/all/others', '333', '4'],
];
const widthOf = (table: string) => Math.max(...table.split('\n').map(({ length }) => length));

describe('a table that fits', () => {
  const options = { head: HEAD, right: [1, 2], text: 0, spare: [2, 1] };

  it('is as it was where there is room', async () => {
    const plain = await renderTable(ROWS, { head: HEAD, right: [1, 2] });
    expect(await fitTable(ROWS, { ...options, columns: Number.POSITIVE_INFINITY })).toBe(plain);
    expect(await fitTable(ROWS, { ...options, columns: widthOf(plain) })).toBe(plain);
  });

  it('does without spare columns, the first ones first', async () => {
    const table = await fitTable(ROWS, { ...options, columns: 72 });
    expect(table).toContain('first');
    expect(table).not.toContain('second');
    expect(table).toContain('333');
    expect(await fitTable(ROWS, { ...options, columns: 64 })).not.toContain('first');
  });

  it.each([48, 30, 20, 12])(
    'folds its text into %i columns, and loses nothing',
    async (columns) => {
      const table = await fitTable(ROWS, { ...options, columns });
      expect(widthOf(table)).toBeLessThanOrEqual(columns);
      expect(table.replace(/\s/g, '')).toBe(
        'nameoneanameofseveralwordsand/one/that/is/longer/than/all/others',
      );
    },
  );
});
