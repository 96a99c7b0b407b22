import { FarpageError } from './errors.js';

/** The size of a page in bytes: the unit of presence, dirtiness and transfer to stores. */
export const PAGE_BYTES = 4096;

/** The power of 1024 that each suffix stands for; `K` and `KiB` are the same. */
const SUFFIX_POWER: ReadonlyMap<string, number> = new Map([
  ['', 0],
  ['B', 0],
  ['K', 1],
  ['KiB', 1],
  ['M', 2],
  ['MiB', 2],
  ['G', 3],
  ['GiB', 3],
  ['T', 4],
  ['TiB', 4],
]);

const UNIT_NAMES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Why `text`, split into number and suffix, is no size: the sentence that helps most. */
function sizeHint(text: string): string {
  const decimal = /^\d+(?:\.\d+)?\s*([kKMGT])B$/.exec(text)?.[1];
  if (decimal !== undefined) {
    const letter = decimal.toUpperCase();
    return `"${text}" could mean powers of 1000 or of 1024; write ${letter}iB or ${letter}`;
  }
  if (/^\d*\.\d+/.test(text)) return `"${text}" is a fraction; use the next smaller unit`;
  if (text.startsWith('-')) return `"${text}" is negative`;
  return `"${text}"`;
}

/**
 * The bytes that a size means: a count of bytes, or text such as `512`, `4G` or `4GiB`, where K, M,
 * G and T are powers of 1024.
 * Errors: ERR_SIZE for anything else: fractions, negatives, kB, MB, GB (which mean two things), and
 * what is no safe integer of bytes.
 */
export function parseSize(value: string | number): number {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw new FarpageError('ERR_SIZE', `${value} is no whole, positive, safe number of bytes`);
  }
  if (typeof value !== 'string') {
    throw new FarpageError('ERR_SIZE', `${String(value)} is neither a number nor a text`);
  }
  const text = value.trim();
  const parts = /^(\d+)\s*([A-Za-z]*)$/.exec(text);
  const power = SUFFIX_POWER.get(parts?.[2] ?? '');
  if (parts === null || power === undefined) throw new FarpageError('ERR_SIZE', sizeHint(text));
  const bytes = Number(parts[1]) * 1024 ** power;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new FarpageError('ERR_SIZE', `"${text}" is more than ${Number.MAX_SAFE_INTEGER} bytes`);
}

const AGE_UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/**
 * The milliseconds that an age means: a number of them, or text such as `30s`, `10m`, `2h` or `1d`.
 * Errors: ERR_ARGUMENT for anything else, and for none at all.
 */
export function parseAge(value: string | number): number {
  const parts = typeof value === 'string' ? /^(\d+)([smhd])$/.exec(value.trim()) : null;
  const unit = AGE_UNIT_MS.get(parts?.[2] ?? '');
  const milliseconds = typeof value === 'number' ? value : Number(parts?.[1]) * (unit ?? 0);
  if (Number.isSafeInteger(milliseconds) && milliseconds > 0) return milliseconds;
  throw new FarpageError('ERR_ARGUMENT', `"${String(value)}" is no age such as 30s, 10m, 2h or 1d`);
}

/** An age for people, in its largest whole unit: `90s`, `10m`, `25h`. */
export function formatAge(milliseconds: number): string {
  for (const [unit, unitMs] of [...AGE_UNIT_MS].reverse()) {
    if (milliseconds >= unitMs && milliseconds % unitMs === 0) {
      return `${milliseconds / unitMs}${unit}`;
    }
  }
  return `${milliseconds / 1000}s`;
}

/** A number of things for people: `1 page`, `2 pages`. `noun` is one whose plural ends in `s`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Pages and what they hold, for people: `1 page, 4 KiB`. */
export function formatPages(pages: number, lengthBytes = pages * PAGE_BYTES): string {
  return `${formatCount(pages, 'page')}, ${formatSize(lengthBytes)}`;
}

/**
 * A size for people: whole units as they are (`4 GiB`), others with one digit after the point
 * (`1.5 MiB`). Not meant to be parsed; `lengthBytes` is a safe integer from 0.
 */
export function formatSize(lengthBytes: number): string {
  let power = 0;
  let amount = lengthBytes;
  // From 1023.95 on, one digit would print as 1024.0 of the smaller unit.
  while (amount >= (power === 0 ? 1024 : 1023.95) && power < UNIT_NAMES.length - 1) {
    amount /= 1024;
    power += 1;
  }
  return `${Number.isInteger(amount) ? amount : amount.toFixed(1)} ${UNIT_NAMES[power]}`;
}

/** How many pages hold `lengthBytes`; the last one may be partial. */
export function pageCount(lengthBytes: number): number {
  return Math.ceil(lengthBytes / PAGE_BYTES);
}

/** True when `value` is a multiple of the page size. */
export function isPageAligned(value: number): boolean {
  return value % PAGE_BYTES === 0;
}

/** The largest multiple of the page size that is not above `value`. */
export function floorToPage(value: number): number {
  return value - (value % PAGE_BYTES);
}

/** The smallest multiple of the page size that is not below `value`. */
export function ceilToPage(value: number): number {
  return pageCount(value) * PAGE_BYTES;
}
