import { Command } from 'commander';
import { expect, it } from 'vitest';
import { QUOTA_DEFAULT } from '../../../src/appliance/quota.js';
import { serveCommand } from '../../../src/cli/commands/serve.js';
import { Output } from '../../../src/cli/output.js';
import { type QuotaOptions, quotaOf, withQuotas } from '../../../src/cli/quota-options.js';

const parsed = (...words: string[]): QuotaOptions =>
  withQuotas(new Command('x').exitOverride()).parse(words, { from: 'user' }).opts();

it('each quota that the library has is an option of serve', () => {
  const options = withQuotas(new Command('x')).options;
  const words = options.flatMap(({ long }, index) => [long ?? '', `${index + 2}`]);
  const quota = quotaOf(parsed(...words));
  expect(Object.keys(quota).sort()).toEqual(Object.keys(QUOTA_DEFAULT).sort());
  // Each is of an option of its own.
  expect(new Set(Object.values(quota)).size).toBe(options.length);
  expect(quotaOf(parsed())).toEqual({});
  expect(quotaOf(parsed('--session-reserve', '1GiB'))).toEqual({ sessionBytesMax: 2 ** 30 });
});

it('serve --help tells the default of all that has one', () => {
  const shell = {
    out: new Output({ out: process.stdout, err: process.stderr }),
    signal: new AbortController().signal,
    env: {},
  };
  const { options } = serveCommand(shell);
  const silent = options.filter(({ description }) => !/\(default( port)?: /.test(description));
  expect(silent.map(({ long }) => long)).toEqual([
    '--tier-token-file',
    '--write-behind',
    '--from-token-file',
    '--memory-dir',
    '--json',
  ]);
  const help = serveCommand(shell).helpInformation().replace(/\s+/g, ' ');
  expect(help).toContain('ports of `farpage export` at most (default: 64)');
  expect(help).toContain('threads that read files (default: 16)');
  expect(help).toContain('repeatable, the nearest first; or none');
});
