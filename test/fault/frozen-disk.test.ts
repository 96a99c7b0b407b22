/** A local file system that answers nothing for a while (fsfreeze(8)). */
import { expect, it, onTestFinished } from 'vitest';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { NO_MOUNT, run, smallDisk } from '../helpers/mounted-disk.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 2 ** 21;

it('who ends an appliance whose disk hangs hears what it waits for', async (context) => {
  const disk = smallDisk();
  if (disk === undefined) return context.skip(NO_MOUNT);
  const file = patternFile(disk, { length: LENGTH });
  const serve = await ServeProcess.start(scratch(), [`r=${file}`]);
  await serve.run(['write', 'r'], { input: 'kept' });
  run('sync', '-f', disk);
  expect(run('fsfreeze', '-f', disk)).toBe(true);
  onTestFinished(() => void run('fsfreeze', '-u', disk));
  const ended = serve.end('SIGINT');
  const said = () => serve.stderr;
  await expect.poll(said, { timeout: 10_000 }).toContain('syncing 1 page, 4 KiB; a second ^C');
  serve.child.kill('SIGINT');
  await expect
    .poll(said, { timeout: 10_000 })
    .toContain('ended before all of 1 page, 4 KiB was synced');
  run('fsfreeze', '-u', disk);
  expect(await ended).toBe(130);
});

it('a region whose disk hangs is removed in time, and keeps nobody waiting', async (context) => {
  const disk = smallDisk();
  if (disk === undefined) return context.skip(NO_MOUNT);
  const folder = scratch();
  const serve = await ServeProcess.start(folder, ['--memory', '512KiB', '--tier', 'none']);
  const file = patternFile(disk, { length: LENGTH });
  await serve.json(['create', 'r', '--file', file, '--write-behind']);
  await serve.json(['create', 'other', '--file', patternFile(folder, { length: LENGTH })]);
  const client = await connectClient(serve.ready.control);
  const [region, other] = [await client.attach('r'), await client.attach('other')];
  run('sync', '-f', disk);
  expect(run('fsfreeze', '-f', disk)).toBe(true);
  onTestFinished(() => void run('fsfreeze', '-u', disk));
  // More than fits: what makes room is on its way to the disk now.
  const writes = codeOf(() => region.write(0, patternOf(LENGTH, 1), { timeoutMs: 1000 }));
  expect(await writes).toMatch(/^ERR_(TIMEOUT|MEMORY_FULL|NO_SPACE)$/);
  const removal = serve.run(['rm', 'r', '--discard', '--timeout', '60']);
  await expect
    .poll(async () => (await region.stat().catch(() => ({ state: 'gone' }))).state)
    .not.toBe('ready');
  const began = performance.now();
  expect(await serve.json<{ name: string }>(['regions'])).toMatchObject({ name: 'other' });
  expect((await other.stat()).state).toBe('ready');
  expect(performance.now() - began).toBeLessThan(5000);
  run('fsfreeze', '-u', disk);
  expect((await removal).code).toBe(0);
});
