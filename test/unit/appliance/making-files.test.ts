import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makingFiles } from '../../../src/appliance/making-files.js';
import { scratch } from '../../helpers/scratch.js';

it('deletes what a failure has made, and nothing that was there before', () => {
  const folder = scratch();
  const [old, fresh, never] = ['old', 'fresh', 'never'].map((name) => join(folder, name));
  const paths = [old, fresh, never] as [string, string, string];
  writeFileSync(paths[0], 'kept');
  const make = () => {
    writeFileSync(paths[1], '');
    throw new Error('full');
  };
  expect(() => makingFiles(paths, make)).toThrow('full');
  expect(paths.map((path) => existsSync(path))).toEqual([true, false, false]);
  makingFiles(paths, () => writeFileSync(paths[1], ''));
  expect(paths.map((path) => existsSync(path))).toEqual([true, true, false]);
});
