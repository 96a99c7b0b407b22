import { readFileSync, truncateSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 64 * 4096 + 100;

it('serves a file through memory of its own, and writes exactly what changed', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder);
  await serve.json(['create', 'r', '--file', file, '--kind', 'staged']);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  const found = await region.read(0, LENGTH);
  expect(Buffer.compare(found, patternOf(LENGTH))).toBe(0);
  await region.write(LENGTH - 3, Buffer.from('end'));
  await region.write(5 * 4096 - 1, Buffer.from('over'));
  expect(Buffer.compare(readFileSync(file), patternOf(LENGTH))).toBe(0);
  const receipt = await region.sync();
  expect(receipt).toMatchObject({ pagesWritten: 3, bytesWritten: 2 * 4096 + 100 });
  const expected = Buffer.from(patternOf(LENGTH));
  expected.write('end', LENGTH - 3);
  expected.write('over', 5 * 4096 - 1);
  expect(Buffer.compare(readFileSync(file), expected)).toBe(0);
  expect(await serve.json<RegionStat>(['stat', 'r'])).toMatchObject({ kind: 'staged' });
  // Evicted, it comes from the file again.
  expect(await region.reclaim()).toBe(65);
  expect(Buffer.compare(await region.read(0, LENGTH), expected)).toBe(0);
  // What is here stays, when the file is cut underneath; what is not says why.
  await region.reclaim();
  await region.read(0, 4096);
  truncateSync(file, 4096);
  expect(Buffer.compare(await region.read(0, 4096), expected.subarray(0, 4096))).toBe(0);
  expect(await codeOf(() => region.read(8 * 4096, 10))).toBe('ERR_FILE_CHANGED');
});

it.each([
  [['r', '--size', '1MiB', '--kind', 'mapped'], 'mapped memory needs a file'],
  [['r', '--size', '1MiB', '--kind', 'staged'], 'staged memory needs a file'],
  [['r', '--file', '/etc/hostname', '--persist'], 'a file persists by itself'],
  [['r', '--file', '/etc/hostname', '--kind', 'anonymous'], 'anonymous with a file'],
])('refuses %j', async (words, sentence) => {
  const serve = await ServeProcess.start(scratch());
  const run = await serve.run(['create', ...words]);
  expect(run).toMatchObject({ code: 2 });
  expect(run.stderr).toContain(sentence);
  expect((await serve.run(['regions', '--json'])).stdout.toString()).toBe('');
});
