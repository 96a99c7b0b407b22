import { fork } from 'node:child_process';
import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const BLOCKED_MS = 2000;

it('is allocated while the JavaScript thread of its appliance is blocked', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 4096 });
  const program = fileURLToPath(new URL('../fixtures/blocking-appliance.mjs', import.meta.url));
  const child = fork(program, [folder, file]);
  // Until it is gone it holds its state directory, by an inode that the next test may get.
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  await once(child, 'message');
  const client = await connectClient(`farpage+unix:${join(folder, 's')}`);
  const regions = await Promise.all(
    Array.from({ length: 8 }, () => client.reserve({ size: '1TiB', fill: 'one' })),
  );
  child.send({ block: BLOCKED_MS });
  await once(child, 'message');
  const began = performance.now();
  const control = client.regions().then(() => performance.now() - began);
  for (const [index, region] of regions.entries()) {
    expect([...(await region.read(index * MIB, 1))]).toEqual([255]);
    await region.write(index * MIB, Buffer.from([index]));
  }
  expect(performance.now() - began).toBeLessThan(BLOCKED_MS - 500);
  expect(await control).toBeGreaterThan(BLOCKED_MS - 500);
  const stats = await Promise.all(regions.map((region) => region.stat()));
  expect(stats.map(({ allocatedBytes }) => allocatedBytes)).toEqual(regions.map(() => 2 ** 40));
});

it('ends the operation that finds no room with a code, and the next one may', async () => {
  const { url, appliance } = await serveAppliance({ memory: '4MiB', overcommit: 2 });
  const client = await connectClient(url);
  const first = await client.reserve({ name: 'a', size: 6 * MIB });
  const second = await client.reserve({ name: 'b', size: 4 * MIB });
  await first.write(0, Buffer.from('here'));
  expect(await codeOf(() => second.read(0, 4))).toBe('ERR_QUOTA');
  const refused = await second.stat();
  expect(refused).toMatchObject({ state: 'unavailable', allocatedBytes: 0 });
  expect(refused.error).toMatchObject({ code: 'ERR_QUOTA' });
  // Calls that need no memory go on without it.
  expect(await second.sync()).toMatchObject({ pagesWritten: 0 });
  expect(await second.reclaim()).toBe(0);
  expect(Buffer.from(await first.read(0, 4)).toString()).toBe('here');
  await client.remove('a', { dirty: 'discard' });
  expect([...(await second.read(0, 4))]).toEqual([0, 0, 0, 0]);
  const [stat] = appliance.regions();
  expect(stat).toMatchObject({ name: 'b', state: 'ready', allocatedBytes: 4 * MIB });
  expect(stat?.error).toBeUndefined();
});

it('charges a session for what it touches, not for what it reserves', async () => {
  const quota = { sessionAllocatedBytesMax: 2 * MIB, sessionBytesMax: 8 * MIB };
  const { url } = await serveAppliance({ quota });
  const one = await connectClient(url);
  const mine = await Promise.all([1, 2, 3, 4].map(() => one.reserve({ size: 2 * MIB })));
  expect(await codeOf(() => one.reserve({ size: 2 * MIB }))).toBe('ERR_QUOTA');
  await mine[3]!.write(0, Buffer.from('x'));
  expect(await codeOf(() => mine[0]!.write(0, Buffer.from('x')))).toBe('ERR_QUOTA');
  // Another session has an account of its own.
  const other = await (await connectClient(url)).reserve({ size: 2 * MIB });
  await other.write(0, Buffer.from('x'));
});

it('tells the operation when the file has gone meanwhile', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 3 * 4096 });
  const { url } = await serveAppliance({}, folder);
  const region = await (await connectClient(url)).reserve({ name: 'r', file });
  renameSync(file, `${file}.away`);
  expect(await codeOf(() => region.read(0, 10))).toBe('ERR_FILE_NOT_FOUND');
  expect(await region.stat()).toMatchObject({ state: 'unavailable', allocatedBytes: 0 });
  renameSync(`${file}.away`, file);
  expect((await region.read(0, 10)).length).toBe(10);
});

it('keeps what persists in a file that is made at once and opened by the first touch', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'notes', '--size', '1TiB', '--persist']);
  expect(await first.json<RegionStat>(['stat', 'notes'])).toMatchObject({ allocatedBytes: 0 });
  await first.end();
  // Nobody touched it: its file must be there all the same, or its loss could not be told.
  const second = await ServeProcess.start(folder);
  const region = await (await connectClient(second.ready.control)).attach('notes');
  expect(await region.stat()).toMatchObject({ state: 'reserved', allocatedBytes: 0 });
  await region.write(2 ** 39, Buffer.from('kept'));
  await region.sync();
  await second.end('SIGKILL');
  const third = await ServeProcess.start(folder);
  const again = await (await connectClient(third.ready.control)).attach('notes');
  expect(await again.stat()).toMatchObject({ state: 'reserved', allocatedBytes: 0 });
  expect(Buffer.from(await again.read(2 ** 39, 4)).toString()).toBe('kept');
});

it.each([
  [['--overcommit', '0'], 'is no ratio'],
  [['--overcommit', '-1'], 'is no ratio'],
  [['--session-allocate', '1.5G'], 'not a size'],
])('refuses serve %j', async (words, sentence) => {
  const serve = await ServeProcess.start(scratch());
  const run = await serve.run(['serve', ...words]);
  expect(run.code).toBe(2);
  expect(run.stderr).toContain(sentence);
});
