import { describe, expect, it } from 'vitest';
import { type RegionRecord, toRecord } from '../../../src/appliance/record.js';
import { differenceOf } from '../../../src/appliance/same-region.js';
import { validate } from '../../../src/control/message.js';
import { type RegionBody, regionBody } from '../../../src/control/schema.js';
import { patternFile, scratch } from '../../helpers/scratch.js';

const SOMETHING_ELSE = 'its bytes are those of something else';

const specOf = (body: RegionBody) => validate(regionBody, body, 'ERR_ARGUMENT');

function record(body: RegionBody, path?: string, staged = false): RegionRecord {
  return toRecord(specOf(body), { name: 'r', door: 'unix', path, staged });
}

/** What is said of the second request where the first one's region is there. */
function difference(first: RegionBody, second: RegionBody, path?: string): string | undefined {
  return differenceOf(record(first, path), record(second, path), specOf(second));
}

describe('the same region', () => {
  it('is the same range of the same file', () => {
    const path = patternFile(scratch(), { length: 8192 });
    const file = (body: RegionBody = {}) => record({ file: path, ...body }, path);
    expect(differenceOf(file(), file())).toBeUndefined();
    expect(differenceOf(file(), file({ offset: 4096 }))).toBe(SOMETHING_ELSE);
    expect(differenceOf(file(), file({ length: 4096 }))).toBe(
      'its size is 8192 bytes, not 4096 bytes',
    );
    expect(differenceOf(file(), record({ size: 8192 }))).toBe(SOMETHING_ELSE);
    const other = patternFile(scratch(), { length: 8192 });
    expect(differenceOf(file(), record({ file: other }, other))).toBe(SOMETHING_ELSE);
  });

  it('has the same size and fill, and is kept or not', () => {
    expect(difference({ size: 4096 }, { size: 4096 })).toBeUndefined();
    expect(difference({ size: 4096 }, { size: 4096, reserve: true })).toBeUndefined();
    expect(difference({ size: 4096 }, { size: 4096, fill: 'one' })).toBe(
      'its fill is zero, not one',
    );
    expect(difference({ size: 4096 }, { size: 4096, persist: true })).toBe(
      'its persist is off, not on',
    );
    expect(difference({ size: 2 ** 30 }, { size: 2 ** 30 + 4096 })).toBe(
      'its size is 1073741824 bytes, not 1073745920 bytes',
    );
  });

  it.each([
    [{ access: 'read-only' }, 'its access is read-write, not read-only'],
    [{ resident: 65_536 }, 'its resident is none, not 65536 bytes'],
    [{ writeBehind: true }, 'its write-behind is off, not on'],
    [{ kind: 'staged' }, 'its kind is mapped, not staged'],
    [{ reserve: true }, 'its reserve is off, not on'],
    [{ workingSetMs: 120_000 }, 'its working-set is off, not 2m'],
  ] as const)('differs in what is given, %j, and not in what is not', (option, said) => {
    const path = patternFile(scratch(), { length: 8192 });
    const [plain, special] = [{ file: path }, { file: path, ...option }];
    expect(difference(plain, special, path)).toBe(said);
    expect(difference(special, special, path)).toBeUndefined();
    expect(difference(special, plain, path)).toBeUndefined();
  });

  it('differs where the opposite is given in so many words', () => {
    const path = patternFile(scratch(), { length: 8192 });
    const behind = { file: path, writeBehind: true };
    expect(difference(behind, { file: path, writeBehind: false }, path)).toBe(
      'its write-behind is on, not off',
    );
    expect(difference({ file: path, reserve: true }, { file: path, reserve: false }, path)).toBe(
      'its reserve is on, not off',
    );
  });

  it('is mapped or staged, as the start decides, unless that is given', () => {
    const path = patternFile(scratch(), { length: 8192 });
    const [mapped, staged] = [record({ file: path }, path), record({ file: path }, path, true)];
    expect([mapped.source.kind, staged.source.kind]).toEqual(['mapped', 'staged']);
    expect(differenceOf(mapped, staged)).toBeUndefined();
    expect(differenceOf(staged, mapped, { kind: 'mapped' })).toBe('its kind is staged, not mapped');
  });

  it('asks its source with the same token', () => {
    const copy = (fromTokenFile?: string) => {
      const spec = specOf({
        from: 'farpage://there/model',
        ...(fromTokenFile && { fromTokenFile }),
      });
      const origin = { size: 8192, identity: 'a'.repeat(32) };
      return { spec, record: toRecord(spec, { name: 'r', door: 'unix', path: undefined, origin }) };
    };
    const [none, one, other] = [copy(), copy('/a/token'), copy('/b/token')];
    expect(differenceOf(one.record, one.record, one.spec)).toBeUndefined();
    expect(differenceOf(one.record, none.record, none.spec)).toBeUndefined();
    expect(differenceOf(one.record, other.record, other.spec)).toBe(
      'its from-token-file is another one, not that',
    );
  });
});
