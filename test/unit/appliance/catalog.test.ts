import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Catalog } from '../../../src/appliance/catalog.js';
import type { RegionRecord } from '../../../src/appliance/record.js';
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
  expect(readdirSync(folder)).toEqual(['catalog.json']);
});

it.each([
  ['is cut', (text: string) => text.slice(0, -5)],
  ['has one other digit', (text: string) => text.replace('4096', '4097')],
  ['is of another version', (text: string) => text.replace('"version":2', '"version":3')],
  ['is empty', () => ''],
])('refuses one that %s, and does not overwrite it', async (_, damage) => {
  const folder = scratch();
  Catalog.open(folder).put(anonymous('a'));
  const path = join(folder, 'catalog.json');
  const damaged = damage(readFileSync(path, 'utf8'));
  writeFileSync(path, damaged);
  expect(await codeOf(() => Catalog.open(folder))).toBe('ERR_IO');
  expect(readFileSync(path, 'utf8')).toBe(damaged);
});

it('keeps the old state when it cannot write the new one', async () => {
  const folder = scratch();
  const catalog = Catalog.open(folder);
  catalog.put(anonymous('a'));
  // A folder in the place of the next version is something that even root cannot write to.
  const { mkdirSync } = await import('node:fs');
  mkdirSync(join(folder, 'catalog.json.next'));
  expect(await codeOf(() => catalog.put(anonymous('b')))).toBe('ERR_IO');
  expect(catalog.regions).toEqual([anonymous('a')]);
  expect(Catalog.open(folder).regions).toEqual([anonymous('a')]);
});
