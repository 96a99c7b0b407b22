import { readFileSync } from 'node:fs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  ERROR_TEXT,
  type ErrorCode,
  FabricError,
  FarpageError,
  isErrorCode,
} from '../../src/errors.js';

const codes = Object.keys(ERROR_TEXT) as ErrorCode[];
const readme = readFileSync(new URL('../../src/README.md', import.meta.url), 'utf8');
const section = readme.split(/^## /m).find((part) => part.startsWith('Errors\n')) ?? '';
const rows = new Map(
  [...section.matchAll(/^\| `(ERR_[A-Z_]+)` \| (.*) \|$/gm)].map((row) => [row[1], row[2]]),
);

describe('the registry of errors', () => {
  it('is the table of src/README.md, both ways and in the same words', () => {
    expect([...rows]).toEqual(Object.entries(ERROR_TEXT));
  });

  it('has a sentence per code that also says what to do', () => {
    for (const code of codes) {
      expect(code).toMatch(/^ERR_[A-Z]+(_[A-Z]+)*$/);
      expect(ERROR_TEXT[code]).toMatch(/^.{10,}[;,] .{4,}[^.]$/);
    }
    expect(new Set(Object.values(ERROR_TEXT)).size).toBe(codes.length);
  });

  it('knows its own codes and no others', () => {
    expect(codes.every(isErrorCode)).toBe(true);
    for (const value of ['ERR_NOTHING', 'toString', '', 1, null, undefined]) {
      expect(isErrorCode(value)).toBe(false);
    }
  });
});

describe('FarpageError', () => {
  it('carries code, context and cause', () => {
    const cause = new Error('ENOENT');
    const error = new FarpageError('ERR_FILE_NOT_FOUND', 'model.bin', { cause });
    expectTypeOf(error.code).toEqualTypeOf<ErrorCode>();
    expect(error).toBeInstanceOf(Error);
    expect([error.name, error.code]).toEqual(['FarpageError', 'ERR_FILE_NOT_FOUND']);
    expect(error.message).toBe(`${ERROR_TEXT.ERR_FILE_NOT_FOUND}: model.bin`);
    expect(error.cause).toBe(cause);
    expect(new FarpageError('ERR_CLOSED').message).toBe(ERROR_TEXT.ERR_CLOSED);
  });

  it('has a kind that keeps what the Terminate message said', () => {
    const error = new FabricError('ERR_BOUNDS', { layer: 0, type: 1, code: 1 }, 'model.bin');
    expect(error).toBeInstanceOf(FarpageError);
    expect([error.name, error.code]).toEqual(['FabricError', 'ERR_BOUNDS']);
    expect(error.rdmap).toEqual({ layer: 0, type: 1, code: 1 });
  });
});
