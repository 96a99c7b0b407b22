import { join } from 'node:path';
import { expect, it } from 'vitest';
import { farpage } from '../helpers/cli.js';
import { scratch } from '../helpers/scratch.js';

it.each([
  ['--state', 'ERR_IO', '/proc/farpage/a/state'],
  ['--socket', 'ERR_SOCKET_PATH', '/proc/farpage/a/s'],
  ['--memory-dir', 'ERR_UNSUPPORTED', '/proc/farpage/a/memory'],
])('%s where nothing can be made ends at once with %s', async (option, code, path) => {
  const folder = scratch();
  const words = ['--socket', join(folder, 's'), '--state', join(folder, 'a', 'b', 'state')];
  const { code: exit, stderr } = await farpage(['serve', ...words, option, path]);
  expect([exit, stderr]).toEqual([1, expect.stringMatching(/^farpage: .*\n$/)]);
  expect(stderr).toContain(code);
  expect(stderr).toContain('/proc/farpage/a');
});
