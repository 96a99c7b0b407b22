import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { resolveFile, resolveRoot } from '../../../src/appliance/root.js';
import { codeOf } from '../../helpers/codes.js';
import { scratch } from '../../helpers/scratch.js';

let folder = '';
let root = '';

beforeEach(() => {
  folder = resolveRoot(scratch());
  root = join(folder, 'root');
  mkdirSync(join(root, 'sub'), { recursive: true });
  mkdirSync(join(folder, 'root-beside'));
  for (const name of ['root/a', 'root/sub/b', 'root-beside/c', 'secret']) {
    writeFileSync(join(folder, name), name);
  }
  symlinkSync(join(folder, 'secret'), join(root, 'link-out'));
  symlinkSync(join(root, 'a'), join(root, 'link-in'));
  symlinkSync(folder, join(root, 'folder-out'));
  symlinkSync(join(folder, 'new-secret'), join(root, 'dangling'));
});

const tcp = (path: string, make = false) => resolveFile(path, { door: 'tcp', root, make });

describe('a path on TCP', () => {
  it.each([
    ['a', 'a'],
    ['sub/b', 'sub/b'],
    ['sub/../a', 'a'],
    ['link-in', 'a'],
  ])('may be %s', (path, real) => {
    expect(tcp(path)).toBe(join(root, real));
    expect(tcp(join(root, path))).toBe(join(root, real));
  });

  it('may be missing only if it shall be made', async () => {
    expect(await codeOf(() => tcp('new'))).toBe('ERR_FILE_NOT_FOUND');
    expect(tcp('new', true)).toBe(join(root, 'new'));
    expect(await codeOf(() => tcp('nowhere/new', true))).toBe('ERR_FILE_NOT_FOUND');
  });

  it.each([
    '../secret',
    '/etc/passwd',
    '../root-beside/c',
    'link-out',
    'folder-out/secret',
    'sub/../../secret',
    '..',
    '.',
  ])('may not be %s', async (path) => {
    expect(await codeOf(() => tcp(path))).toBe('ERR_OUTSIDE_ROOT');
  });

  it('may not make a file outside, by a folder that leads there', async () => {
    expect(await codeOf(() => tcp('folder-out/new', true))).toBe('ERR_OUTSIDE_ROOT');
    expect(await codeOf(() => tcp('../new', true))).toBe('ERR_OUTSIDE_ROOT');
  });

  it('may be none at all without --root', async () => {
    const call = () => resolveFile('a', { door: 'tcp', root: undefined, make: false });
    expect(await codeOf(call)).toBe('ERR_OUTSIDE_ROOT');
  });

  it('may not have a zero byte', async () => {
    expect(await codeOf(() => tcp('a\0b'))).toBe('ERR_ARGUMENT');
  });
});

describe('a path on the Unix socket', () => {
  const unix = (path: string) => resolveFile(path, { door: 'unix', root, make: false });
  it('may lead anywhere, but must be absolute', async () => {
    expect(unix(join(root, 'link-out'))).toBe(join(folder, 'secret'));
    expect(await codeOf(() => unix('a'))).toBe('ERR_ARGUMENT');
    expect(await codeOf(() => unix('/nowhere/at/all'))).toBe('ERR_FILE_NOT_FOUND');
    expect(await codeOf(() => unix(join(root, 'a/b')))).toBe('ERR_FILE_NOT_FOUND');
  });
});
