import { CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { EXIT, exitCodeOf } from '../../../src/cli/exit-codes.js';
import {
  duration,
  hostPort,
  integer,
  regionTarget,
  type Shell,
  size,
} from '../../../src/cli/options.js';
import { legendOf, pictureOf } from '../../../src/cli/page-picture.js';
import { FarpageError } from '../../../src/errors.js';

describe('options', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['10', 10_000],
    ['0.5s', 500],
    ['2m', 120_000],
  ])('read the time %s', (text, milliseconds) => {
    expect(duration(text)).toBe(milliseconds);
  });

  it.each(['', '0', '-1s', '10 s', '1h', '1e3', '99999999m', 'ms'])(
    'refuse the time "%s"',
    (text) => {
      expect(() => duration(text)).toThrow(CommanderError);
    },
  );

  it('name one appliance for all regions of a command, by one client', () => {
    const shell = { out: { json: false }, signal: new AbortController().signal, env: {} };
    const options = { appliance: 'farpage://127.0.0.1:7433' };
    const targetOfA = regionTarget('a', options, shell as unknown as Shell);
    const targetOfB = regionTarget('b', options, shell as unknown as Shell);
    expect(targetOfA.control).toBe(targetOfB.control);
    const other = { appliance: 'farpage://127.0.0.1:7434' };
    expect(regionTarget('b', other, shell as unknown as Shell).control).not.toBe(targetOfA.control);
    expect([targetOfA.wait.timeoutMs, targetOfA.patience.timeoutMs]).toEqual([10_000, 0]);
    const hasty = regionTarget('a', { ...options, timeout: 5 }, shell as unknown as Shell);
    expect([hasty.wait.timeoutMs, hasty.patience.timeoutMs]).toEqual([5, 5]);
  });

  it('read sizes, numbers and addresses, or say what is wrong', () => {
    expect(size('4K')).toBe(4096);
    expect(() => size('4kB')).toThrow(/write KiB or K/);
    expect(integer(1, 5)('5')).toBe(5);
    for (const text of ['0', '6', '1.5', '', '-1', '1e0']) {
      expect(() => integer(1, 5)(text)).toThrow('no whole number from 1 to 5');
    }
    expect(hostPort(7433)('host')).toEqual({ host: 'host', port: 7433 });
    expect(() => hostPort(7433)(':1')).toThrow('HOST:PORT');
    // The line that a user sees has the sentence of ERR_ARGUMENT before it.
    expect(() => integer(1, 5)('6')).not.toThrow('wrong type or value');
  });
});

it.each([
  [new FarpageError('ERR_NO_APPLIANCE'), EXIT.noAppliance],
  [new FarpageError('ERR_ABORTED'), EXIT.interrupted],
  [new FarpageError('ERR_ARGUMENT'), EXIT.usage],
  [new FarpageError('ERR_RANGE'), EXIT.failed],
  [new TypeError('a bug'), EXIT.failed],
])('%s ends the process with %i', (error, code) => {
  expect(exitCodeOf(error)).toBe(code);
});

describe('the picture of a page table', () => {
  it('shows the most telling thing about each cell', () => {
    const cells = [0, 1, 33, 1 | 4, 1 | 2 | 4, 1 | 8, 1 | 2 | 8, 16 | 2, 4];
    expect(pictureOf(Uint8Array.from(cells))).toBe('.RrRWsW!.');
  });

  it('explains the letters that it has, and no others', () => {
    expect(legendOf('..')).toBe('. absent');
    expect(legendOf('.WsW')).toBe('W written  s written back  . absent');
  });
});
