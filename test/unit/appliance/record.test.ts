import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FileClaims } from '../../../src/appliance/file-claims.js';
import { nameOfFile, type RegionRecord, toRecord } from '../../../src/appliance/record.js';
import { differenceOf } from '../../../src/appliance/same-region.js';
import { validate } from '../../../src/control/message.js';
import { type RegionBody, regionBody } from '../../../src/control/schema.js';
import { codeOf } from '../../helpers/codes.js';
import { patternFile, scratch } from '../../helpers/scratch.js';

function record(body: RegionBody, path?: string): RegionRecord {
  const spec = validate(regionBody, body, 'ERR_ARGUMENT');
  return toRecord(spec, { name: 'r', door: 'unix', path });
}

describe('a copy', () => {
  const copy = (body: Partial<RegionBody>, staged = false) => {
    const origin = { size: 8192, identity: 'a'.repeat(32) };
    const from = 'farpage://there/model';
    const asked = validate(regionBody, { from, ...body }, 'ERR_ARGUMENT');
    return toRecord(asked, { name: 'r', door: 'unix', path: undefined, origin, staged });
  };

  it('may be atomic, which makes it another region than one that is not', () => {
    expect(copy({ atomic: true })).toMatchObject({ atomic: true, source: { kind: 'remote' } });
    expect(differenceOf(copy({ atomic: true }), copy({ atomic: true }))).toBeUndefined();
    expect(differenceOf(copy({ atomic: true }), copy({}))).toBe('its atomic is on, not off');
  });

  it('is not atomic with a memory directory, and says what to do instead', async () => {
    expect(copy({}, true).source.kind).toBe('remote');
    expect(await codeOf(() => copy({ atomic: true }, true))).toBe('ERR_ARGUMENT');
    expect(() => copy({ atomic: true }, true)).toThrow('serve it without --memory-dir');
  });

  it('is not atomic and read-only', () => {
    expect(() => copy({ atomic: true, access: 'read-only' })).toThrow('write access');
  });
});

describe('a region of a file', () => {
  it('goes to the end of the file by default, to the byte', () => {
    const path = patternFile(scratch(), { length: 10_001 });
    expect(record({ file: path }, path).size).toBe(10_001);
    expect(record({ file: path, offset: 8192 }, path).size).toBe(1809);
    expect(record({ file: path, offset: 4096, length: 4096 }, path).size).toBe(4096);
    expect(record({ file: path, length: 10_001 }, path).size).toBe(10_001);
  });

  it.each([
    [{ offset: 100 }, 'ERR_ALIGNMENT', '0 or 4096'],
    [{ length: 5000 }, 'ERR_ALIGNMENT', '4096 or 8192'],
    [{ offset: 12_288 }, 'ERR_RANGE', '10001 bytes'],
    [{ length: 12_288 }, 'ERR_RANGE', '10001 bytes'],
    [{ offset: 4096, length: 2 ** 53 - 1 }, 'ERR_RANGE', '10001 bytes'],
    [{ length: 0 }, 'ERR_ARGUMENT', 'maps nothing'],
    [{ fill: 'one' }, 'ERR_ARGUMENT', 'fill'],
    [{ size: 4096 }, 'ERR_ARGUMENT', 'make'],
    [{ resident: 5 }, 'ERR_ALIGNMENT', 'resident 5; 4096 would do'],
  ] as const)('with %j fails with %s', async (body, code, text) => {
    const path = patternFile(scratch(), { length: 10_001 });
    expect(await codeOf(() => record({ file: path, ...body }, path))).toBe(code);
    expect(() => record({ file: path, ...body }, path)).toThrow(text);
  });

  it.each([
    ['missing', 'ERR_FILE_NOT_FOUND'],
    ['folder', 'ERR_FILE_KIND'],
    ['empty', 'ERR_FILE_EMPTY'],
  ])('fails when it is %s', async (name, code) => {
    const folder = scratch();
    mkdirSync(join(folder, 'folder'));
    patternFile(folder, { length: 0, name: 'empty' });
    const path = join(folder, name);
    expect(await codeOf(() => record({ file: path }, path))).toBe(code);
  });

  it('is made sparse when it is missing and that was asked for', async () => {
    const path = join(scratch(), 'new');
    const made = record({ file: path, size: 2 ** 30, make: true }, path);
    expect(made.size).toBe(2 ** 30);
    expect(statSync(path)).toMatchObject({ size: 2 ** 30, blocks: 0 });
    expect(record({ file: path, size: 2 ** 30, make: true }, path)).toEqual({
      ...made,
      id: expect.any(String),
    });
    const other = () => record({ file: path, size: 4096, make: true }, path);
    expect(await codeOf(other)).toBe('ERR_ARGUMENT');
  });
});

describe('a region without a file', () => {
  it('needs a size of whole pages', async () => {
    expect(record({ size: 8192 })).toMatchObject({ size: 8192, source: { fill: 'zero' } });
    expect(await codeOf(() => record({ size: 0 }))).toBe('ERR_ARGUMENT');
    expect(await codeOf(() => record({}))).toBe('ERR_ARGUMENT');
    expect(await codeOf(() => record({ size: 100 }))).toBe('ERR_ALIGNMENT');
    expect(await codeOf(() => record({ size: 4096, make: true }))).toBe('ERR_ARGUMENT');
  });
});

describe('FileClaims', () => {
  const claim = (claims: FileClaims, path: string, body: RegionBody) =>
    claims.claim(record({ file: path, ...body }, path));

  it('refuses writable ranges that overlap, by any name of the file', async () => {
    const path = patternFile(scratch(), { length: 5 * 4096 });
    const { linkSync } = await import('node:fs');
    linkSync(path, `${path}.link`);
    const claims = new FileClaims();
    const release = claim(claims, path, { offset: 4096, length: 8192 });
    const over = (body: RegionBody) => codeOf(() => claim(claims, `${path}.link`, body));
    expect(await over({})).toBe('ERR_REGION_BUSY');
    expect(await over({ offset: 8192, length: 4096 })).toBe('ERR_REGION_BUSY');
    expect(await over({ access: 'read-only' })).toBe('nothing');
    expect(await over({ length: 4096 })).toBe('nothing');
    expect(await over({ offset: 12_288 })).toBe('nothing');
    release();
    expect(await over({ offset: 4096, length: 8192 })).toBe('nothing');
  });
});

it('takes a name from a file, or asks for one', async () => {
  expect(nameOfFile('/a/model.bin')).toBe('model.bin');
  expect(await codeOf(() => nameOfFile('/a/with space'))).toBe('ERR_NAME');
});
