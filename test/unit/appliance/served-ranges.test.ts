import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { RegionRecord } from '../../../src/appliance/record.js';
import { ServedRanges } from '../../../src/appliance/served-ranges.js';
import { FarpageError } from '../../../src/errors.js';
import { scratch } from '../../helpers/scratch.js';

const PAGE = 4096;

const FILE: RegionRecord = {
  name: 'notes',
  id: '0123456789abcdef'.repeat(2),
  door: 'unix',
  access: 'read-write',
  size: 10 * PAGE,
  resident: 0,
  source: { kind: 'mapped', path: '/data/notes', offset: 0, writeBehind: false },
};
const SAID = {
  protection: [
    { offset: 0, length: PAGE, access: 'none' },
    { offset: 6 * PAGE, length: 4 * PAGE, access: 'read' },
  ],
  pins: [
    { offset: 0, length: 2 * PAGE },
    { offset: 8 * PAGE, length: 2 * PAGE },
  ],
} as const;

/** A folder where the ranges of `FILE` were kept by a process before. */
function folderWithRanges(): string {
  const folder = scratch();
  const ranges = new ServedRanges(folder);
  ranges.restore(FILE);
  ranges.update({ ...FILE, ...SAID });
  return folder;
}

const restored = (folder: string, record: Partial<RegionRecord> = {}) => {
  const { protection, pins } = new ServedRanges(folder).restore({ ...FILE, ...record });
  return { protection, pins };
};

it.each([
  ['as before', FILE.source],
  ['staged', { kind: 'staged', path: '/data/notes', offset: 0 }],
] as const)('finds the ranges of a file that is served %s', (_, source) => {
  expect(restored(folderWithRanges(), { source })).toEqual(SAID);
});

it.each([
  ['name', { name: 'others' }],
  ['file', { source: { kind: 'staged', path: '/data/others', offset: 0 } }],
  ['place in the file', { source: { kind: 'staged', path: '/data/notes', offset: PAGE } }],
] as const)('finds nothing for another %s', (_, record) => {
  expect(restored(folderWithRanges(), record)).toEqual({});
});

it('fits them to a file that was cut or has grown', () => {
  const folder = folderWithRanges();
  expect(restored(folder, { size: 7 * PAGE })).toEqual({
    protection: [SAID.protection[0], { offset: 6 * PAGE, length: PAGE, access: 'read' }],
    pins: [SAID.pins[0]],
  });
  expect(restored(folder, { size: 20 * PAGE })).toEqual({
    // What was protected to its end still is.
    protection: [SAID.protection[0], { offset: 6 * PAGE, length: 14 * PAGE, access: 'read' }],
    pins: SAID.pins,
  });
});

it('keeps nothing of a region that it did not restore, was removed, or has no ranges', () => {
  const folder = folderWithRanges();
  const ranges = new ServedRanges(folder);
  ranges.update({ ...FILE, protection: [] });
  expect(restored(folder)).toEqual(SAID);
  ranges.restore(FILE);
  ranges.update({ ...FILE, protection: [], pins: [] });
  expect(readdirSync(folder)).toEqual([]);
  ranges.update({ ...FILE, ...SAID });
  ranges.forget(FILE);
  ranges.update({ ...FILE, ...SAID });
  expect(readdirSync(folder)).toEqual([]);
});

it.each([
  ['is cut', (text: string) => text.slice(0, -20), 'ERR_STATE_DAMAGED', /delete it to serve/],
  ['permits more', (text: string) => text.replace('"none"', '"read"'), 'ERR_STATE_DAMAGED', /sum/],
  ['is newer', (text: string) => text.replace(':1,', ':2,'), 'ERR_STATE_VERSION', /version 2/],
])('refuses a file that %s', (_, spoil, code, message) => {
  const folder = folderWithRanges();
  const [name = ''] = readdirSync(folder);
  const path = join(folder, name);
  writeFileSync(path, spoil(readFileSync(path, 'utf8')));
  const error = (() => {
    try {
      return restored(folder);
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(error).toBeInstanceOf(FarpageError);
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  expect((error as Error).message).toContain(path);
});
