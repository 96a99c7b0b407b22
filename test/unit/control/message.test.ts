import { describe, expect, it } from 'vitest';
import { contextOf, statusOf } from '../../../src/control/codes.js';
import { fromFailure, toFailure, validate } from '../../../src/control/message.js';
import { pageMapQuery, regionBody, regionName } from '../../../src/control/schema.js';
import { ERROR_TEXT, type ErrorCode, FarpageError } from '../../../src/errors.js';
import { codeOf } from '../../helpers/codes.js';

describe('failures', () => {
  it.each(Object.keys(ERROR_TEXT) as ErrorCode[])('carry %s over the wire', (code) => {
    for (const error of [new FarpageError(code), new FarpageError(code, 'what: it was')]) {
      const there = fromFailure(JSON.parse(JSON.stringify(toFailure(error))));
      expect([there.code, there.message]).toEqual([error.code, error.message]);
    }
  });

  it('show what is not ours as an internal error, without its stack', () => {
    expect(toFailure(new TypeError('oops'))).toEqual({
      code: 'ERR_INTERNAL',
      message: 'oops',
      context: 'oops',
    });
  });

  it.each([{}, 'text', { code: 'ERR_OF_TOMORROW', message: '', context: '' }, null])(
    'end in ERR_PROTOCOL when they are not ours: %j',
    (value) => {
      expect(fromFailure(value).code).toBe('ERR_PROTOCOL');
    },
  );

  it('have a status and a context', () => {
    expect(statusOf('ERR_NO_SUCH_REGION')).toBe(404);
    expect(statusOf('ERR_SIZE')).toBe(400);
    expect(statusOf('ERR_OF_TOMORROW')).toBe(500);
    expect(contextOf(new FarpageError('ERR_IO'))).toBe('');
  });
});

describe('schemas', () => {
  it('name the option that there is not', () => {
    expect(() => validate(regionBody, { colour: 1 }, 'ERR_ARGUMENT')).toThrow(
      /: colour: there is no such option$/,
    );
  });

  it.each(['a', 'A-b_c.9', '...', '.a', 'x'.repeat(128), '@0123456789ab'])(
    'take the name %s',
    (name) => {
      expect(validate(regionName, name, 'ERR_NAME')).toBe(name);
    },
  );

  it.each(['', '.', '..', 'a b', 'x'.repeat(129), 'a/b', '@', 'ä', '@0123456789AB'])(
    'refuse the name "%s"',
    async (name) => {
      expect(await codeOf(() => validate(regionName, name, 'ERR_ARGUMENT'))).toBe('ERR_NAME');
    },
  );

  it.each([
    { size: -1 },
    { size: 1.5 },
    { size: 2 ** 53 },
    { size: '1' },
    { offset: Number.NaN },
    { unknown: 1 },
    { fill: 'two' },
    { file: '' },
    { file: 'a'.repeat(5000) },
    [],
    null,
  ])('refuse the region %j', async (body) => {
    expect(await codeOf(() => validate(regionBody, body, 'ERR_ARGUMENT'))).toBe('ERR_ARGUMENT');
  });

  it('say where a value is wrong', () => {
    expect(() => validate(regionBody, { size: -1 }, 'ERR_ARGUMENT')).toThrow(/size: /);
  });

  it('read numbers of queries, and bound them', async () => {
    const read = (value: unknown) => validate(pageMapQuery, value, 'ERR_ARGUMENT');
    expect(read({})).toEqual({ offset: 0, cells: 64 });
    expect(read({ offset: '8', length: '1', cells: '65536' })).toEqual({
      offset: 8,
      length: 1,
      cells: 65_536,
    });
    for (const query of [{ cells: '0' }, { cells: '65537' }, { offset: '-1' }, { offset: '1e3' }]) {
      expect(await codeOf(() => read(query))).toBe('ERR_ARGUMENT');
    }
  });
});
