import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FarpageError } from '../../src/errors.js';
import {
  ceilToPage,
  floorToPage,
  formatAge,
  formatCount,
  formatSize,
  isPageAligned,
  PAGE_BYTES,
  pageCount,
  parseAge,
  parseSize,
} from '../../src/units.js';

function errorOf(value: string | number): FarpageError {
  try {
    parseSize(value);
  } catch (error) {
    if (error instanceof FarpageError) return error;
    throw error;
  }
  throw new Error(`${value} was taken for a size`);
}

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['512', 512],
    ['512B', 512],
    [' 4 GiB ', 2 ** 32],
    ['1K', 1024],
    ['1KiB', 1024],
    ['3M', 3 * 2 ** 20],
    ['4G', 2 ** 32],
    ['1TiB', 2 ** 40],
    ['1T', 2 ** 40],
    [4096, 4096],
    ['8191TiB', 8191 * 2 ** 40],
  ])('takes %j for %d bytes', (value, bytes) => {
    expect(parseSize(value)).toBe(bytes);
  });

  it.each([
    '',
    ' ',
    'GiB',
    '1.5G',
    '.5K',
    '-1',
    '-1K',
    '+1',
    '1e3',
    '0x10',
    '1gib',
    '1Ki',
    '1P',
    '1 2',
    '1k',
    '8192TiB',
    '99999999999999999999',
    'Infinity',
    '１',
  ])('refuses %j', (text) => {
    expect(errorOf(text).code).toBe('ERR_SIZE');
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuses %d', (value) => {
    expect(errorOf(value).code).toBe('ERR_SIZE');
  });

  it('says what to write instead of kB, MB and GB', () => {
    expect(errorOf('4GB').message).toContain('write GiB or G');
    expect(errorOf('1.5 MB').message).toContain('write MiB or M');
    expect(errorOf('64kB').message).toContain('write KiB or K');
  });

  it('tells fractions and negatives apart', () => {
    expect(errorOf('1.5G').message).toContain('fraction');
    expect(errorOf('-4K').message).toContain('negative');
  });
});

it('formatCount knows one from many', () => {
  expect([0, 1, 2].map((n) => formatCount(n, 'page'))).toEqual(['0 pages', '1 page', '2 pages']);
});

describe('formatSize', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 20 - 1, '1.0 MiB'],
    [2 ** 32, '4 GiB'],
    [2 ** 50, '1024 TiB'],
  ])('shows %d as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });

  it('shows whole units so that they parse back', () => {
    const power = fc.integer({ min: 0, max: 4 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1023 }), power, (amount, exponent) => {
        const bytes = amount * 1024 ** exponent;
        expect(parseSize(formatSize(bytes))).toBe(bytes);
      }),
    );
  });
});

describe('pages', () => {
  it('counts the partial page at the end', () => {
    expect([0, 1, PAGE_BYTES, PAGE_BYTES + 1].map(pageCount)).toEqual([0, 1, 1, 2]);
  });

  it('rounds any safe offset to pages around it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (offset) => {
        const low = floorToPage(offset);
        const high = ceilToPage(offset);
        expect(isPageAligned(low) && isPageAligned(high)).toBe(true);
        expect(low <= offset && offset <= high && high - low <= PAGE_BYTES).toBe(true);
        expect(high === low).toBe(isPageAligned(offset));
      }),
    );
  });
});

describe('parseAge', () => {
  it.each([
    ['30s', 30_000],
    ['10m', 600_000],
    ['2h', 7_200_000],
    [' 1d ', 86_400_000],
    [1500, 1500],
  ])('takes %j for %d ms', (value, milliseconds) => {
    expect(parseAge(value)).toBe(milliseconds);
  });

  it.each(['', '10', '0s', '1.5h', '-1m', '10 m', '5w', '500ms', '1h30m', 'ever', 0, -5, 1.5])(
    'refuses %j',
    (value) => {
      expect(() => parseAge(value)).toThrow(
        new FarpageError('ERR_ARGUMENT', `"${value}" is no age such as 30s, 10m, 2h or 1d`),
      );
    },
  );

  it('tells ages in their largest whole unit', () => {
    const told = [30_000, 90_000, 600_000, 7_200_000, 86_400_000, 90_000_000, 1500].map(formatAge);
    expect(told).toEqual(['30s', '90s', '10m', '2h', '1d', '25h', '1.5s']);
  });
});
