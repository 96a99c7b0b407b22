import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Catalog } from '../../../src/appliance/catalog.js';
import type { RegionRecord } from '../../../src/appliance/record.js';
import { FarpageError } from '../../../src/errors.js';
import { codeOf } from '../../helpers/codes.js';
import { scratch } from '../../helpers/scratch.js';

const anonymous = (name: string, size = 4096): RegionRecord => ({
  // Keys in another order than the catalog's own: that must not matter to the checksum.
  source: { fill: 'zero', persist: false, kind: 'anonymous' },
  size,
  name,
  id: '0123456789abcdef'.repeat(2),
  resident: 0,
  door: 'unix',
  access: 'read-write',
});
function errorOf(work: () => unknown): FarpageError {
  try {
    work();
  } catch (error) {
    if (error instanceof FarpageError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

const mapped: RegionRecord = {
  ...anonymous('file'),
  source: { kind: 'mapped', path: '/a', offset: 4096, writeBehind: true },
};

it('keeps regions over a restart, and leaves nothing else behind', () => {
  const folder = scratch();
  const catalog = Catalog.open(folder);
  expect(catalog.regions).toEqual([]);
  catalog.put(anonymous('a'));
  catalog.put(mapped);
  catalog.put(anonymous('a', 8192));
  expect(Catalog.open(folder).regions).toEqual([mapped, anonymous('a', 8192)]);
  catalog.remove('file');
  catalog.remove('nobody');
  expect(Catalog.open(folder).regions).toEqual([anonymous('a', 8192)]);
  const spare = 'catalog.json.spare';
  expect(readdirSync(folder)).toEqual(['catalog.json', 'catalog.json.previous', spare]);
});

const DAMAGED = 'ERR_STATE_DAMAGED';
const VERSION = 'ERR_STATE_VERSION';
const versioned = (version: number) => (text: string) =>
  text.replace('"version":2', `"version":${version}`);
it.each([
  ['is cut', DAMAGED, 'it is not JSON', (text: string) => text.slice(0, -5)],
  ['has one other digit', DAMAGED, 'checksum', (text: string) => text.replace('4096', '4097')],
  ['is empty', DAMAGED, 'it is not JSON', () => ''],
  ['is something else', DAMAGED, 'format', () => '{"format":"other"}'],
  ['lacks a key', DAMAGED, 'regions.0.id', (text: string) => text.replace('"id"', '"ie"')],
  ['is newer', VERSION, 'of version 3, and this Farpage reads version 2', versioned(3)],
  [
    'is newer and otherwise made',
    VERSION,
    'newer',
    () => '{"format":"farpage-catalog","version":9}',
  ],
  ['is older', VERSION, 'before the first release', versioned(1)],
])('refuses one that %s, says so, and does not overwrite it', (_, code, why, damage) => {
  const folder = scratch();
  Catalog.open(folder).put(anonymous('a'));
  const path = join(folder, 'catalog.json');
  const damaged = damage(readFileSync(path, 'utf8'));
  writeFileSync(path, damaged);
  const error = errorOf(() => Catalog.open(folder));
  expect(error).toMatchObject({ code, message: expect.stringContaining(why) });
  expect(error.message).toContain(path);
  expect(readFileSync(path, 'utf8')).toBe(damaged);
});

it('refuses one that is torn anywhere, or has any bit flipped', () => {
  const folder = scratch();
  Catalog.open(folder).put(anonymous('a'));
  const path = join(folder, 'catalog.json');
  const whole = readFileSync(path);
  const refused = (bytes: Buffer) => {
    writeFileSync(path, bytes);
    return [DAMAGED, VERSION].includes(errorOf(() => Catalog.open(folder)).code);
  };
  for (let length = 0; length < whole.length; length += 1) {
    expect(refused(whole.subarray(0, length)), `cut at ${length}`).toBe(true);
  }
  for (let bit = 0; bit < whole.length * 8; bit += 1) {
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    expect(refused(flipped), `bit ${bit}`).toBe(true);
  }
});

it('offers the one before a damaged one, which then is one step back', () => {
  const folder = scratch();
  const catalog = Catalog.open(folder);
  catalog.put(anonymous('a'));
  catalog.put(mapped);
  const path = join(folder, 'catalog.json');
  writeFileSync(path, 'garbage');
  const { message } = errorOf(() => Catalog.open(folder));
  expect(message).toContain(`${path}.previous is whole`);
  expect(message).toContain('with 1 region:');
  copyFileSync(`${path}.previous`, path);
  expect(Catalog.open(folder).regions).toEqual([anonymous('a')]);
  // It is never offered when it is damaged itself.
  writeFileSync(`${path}.previous`, 'garbage');
  writeFileSync(path, 'garbage');
  expect(errorOf(() => Catalog.open(folder)).message).toContain('from a backup');
});

it('keeps the old state when it cannot write the new one', async () => {
  const folder = scratch();
  const catalog = Catalog.open(folder);
  catalog.put(anonymous('a'));
  // A folder in the place of the next version is something that even root cannot write to.
  mkdirSync(join(folder, 'catalog.json.next'));
  expect(await codeOf(() => catalog.put(anonymous('b')))).toBe('ERR_IO');
  expect(catalog.regions).toEqual([anonymous('a')]);
  expect(Catalog.open(folder).regions).toEqual([anonymous('a')]);
});
