import { expect, it } from 'vitest';
import type { Pins, ReclaimReply, RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const LENGTH = 4 * 2 ** 20;

/** Present pages of the range. */
async function present(serve: ServeProcess, offset: number, pages: number): Promise<number> {
  const client = await connectClient(serve.ready.control);
  const region = await client.attach('notes');
  const { cells } = await region.pageMap({ offset, length: pages * PAGE, cells: pages });
  await client.close();
  return cells.filter((cell) => (cell & 1) !== 0).length;
}

it('keeps pinned pages in memory, brought near, while a scan goes over all others', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder, [`notes=${file}`, '--memory', '1MiB']);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  const range = ['--offset', '1MiB', '--length', '256KiB'];
  expect(await serve.json<Pins>(['pin', 'notes', ...range])).toEqual({
    region: 'notes',
    ranges: [{ offset: 2 ** 20, length: 256 * 1024 }],
  });
  const near = async () => await present(serve, 2 ** 20, 64);
  await expect.poll(near, { timeout: 20_000 }).toBe(64);
  for (let round = 0; round < 2; round++) {
    const first = await region.read(0, 2 ** 20);
    expect(Buffer.compare(first, patternOf(LENGTH).subarray(0, 2 ** 20))).toBe(0);
    await region.read(2 * 2 ** 20, 2 * 2 ** 20);
  }
  expect(await near()).toBe(64);
  const { pages } = await serve.json<RegionStat>(['stat', 'notes']);
  expect(pages).toMatchObject({ pinned: 64 });
  expect(pages.present).toBeLessThanOrEqual(256);
  expect((await serve.run(['stat', 'notes'])).stdout.toString()).toMatch(/, 64 pinned/);
  expect((await serve.run(['top', '--once'])).stdout.toString()).toMatch(/256 KiB pinned/);
  const reclaimed = await serve.json<ReclaimReply>(['reclaim', 'notes']);
  expect(reclaimed).toMatchObject({ pagesPinned: 64 });
  expect(await near()).toBe(64);
  const line = (await serve.run(['demote', 'notes'])).stdout.toString();
  expect(line).toMatch(/64 pinned ones stay/);
  await serve.json(['unpin', 'notes', '--offset', '1MiB', '--length', '128KiB']);
  expect(await region.pins()).toEqual([{ offset: 2 ** 20 + 128 * 1024, length: 128 * 1024 }]);
  await serve.json(['reclaim', 'notes']);
  expect(await near()).toBe(32);
  expect(await region.unpin()).toEqual([]);
  expect((await serve.run(['pin', 'notes', '--list'])).stdout.toString()).toBe(
    'notes: nothing is pinned\n',
  );
});

it('has what was pinned pinned again after a restart', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  let serve = await ServeProcess.start(folder);
  await serve.json(['create', 'notes', '--file', file]);
  await serve.json(['pin', 'notes', '--length', '64KiB', '--lazy']);
  expect((await serve.json<RegionStat>(['stat', 'notes'])).pages).toMatchObject({ present: 0 });
  await serve.json(['pin', 'notes', '--offset', '1MiB', '--length', '4KiB', '--lazy']);
  expect(await serve.end('SIGKILL')).toBe(null);
  serve = await ServeProcess.start(folder);
  expect(await serve.json(['pin', 'notes', '--list'])).toMatchObject({
    ranges: [
      { offset: 0, length: 64 * 1024 },
      { offset: 2 ** 20, length: PAGE },
    ],
  });
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  await region.read(0, 2 ** 20 + PAGE);
  expect(await serve.json<ReclaimReply>(['reclaim', 'notes'])).toMatchObject({ pagesPinned: 17 });
  expect((await serve.json<RegionStat>(['stat', 'notes'])).pages.present).toBe(17);
  // And what was unpinned is not.
  await serve.json(['unpin', 'notes', '--length', '60KiB']);
  expect(await serve.end('SIGKILL')).toBe(null);
  serve = await ServeProcess.start(folder);
  expect(await serve.json(['pin', 'notes', '--list'])).toMatchObject({
    ranges: [
      { offset: 60 * 1024, length: PAGE },
      { offset: 2 ** 20, length: PAGE },
    ],
  });
});

it('pins and records at the TCP door only what was made there', async () => {
  const listen = { host: '127.0.0.1', port: 0 };
  const { appliance } = await serveAppliance({ listen });
  await appliance.create({ name: 'notes', size: LENGTH, persist: true });
  const door = await connectClient(`farpage://127.0.0.1:${appliance.doors.tcp?.port}`);
  const region = await door.attach('notes');
  await region.read(0, 1);
  for (const asked of [
    () => region.pin({ length: PAGE }),
    () => region.unpin({ length: PAGE }),
    () => region.workingSet.record('1h'),
    () => region.workingSet.save(),
    () => region.workingSet.forget(),
  ]) {
    expect(await codeOf(asked)).toBe('ERR_ACCESS');
  }
  expect(await region.pins()).toEqual([]);
  const own = await door.allocate({ name: 'own', size: LENGTH, persist: true });
  await own.read(0, 1);
  expect(await own.pin({ length: PAGE })).toHaveLength(1);
  expect(await own.unpin({ length: PAGE })).toEqual([]);
  expect(await own.workingSet.save()).toMatchObject({ state: 'saved' });
});

it('refuses to pin more than half of memory, and what is no range', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder, [`notes=${file}`, '--memory', '1MiB']);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  await expect(region.pin()).rejects.toMatchObject({ code: 'ERR_QUOTA' });
  await expect(region.pin({ length: 516 * 1024 })).rejects.toMatchObject({ code: 'ERR_QUOTA' });
  await expect(region.pin({ offset: LENGTH, length: 1 })).rejects.toMatchObject({
    code: 'ERR_RANGE',
  });
  expect(await region.pins()).toEqual([]);
  expect(await region.pin({ offset: 1, length: 1, lazy: true })).toEqual([
    { offset: 0, length: PAGE },
  ]);
  const { stderr, code } = await serve.run(['pin', 'notes']);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/\d+ pages of notes, where 128 of all regions may be pinned .*ERR_QUOTA/);
  const own = patternFile(scratch(), { length: LENGTH });
  const half = await ServeProcess.start(scratch(), [`own=${own}`, '--resident', '128KiB']);
  const more = (await half.run(['pin', 'own', '--length', '68KiB'])).stderr;
  expect(more).toMatch(/17 pages of own, where 16 of it may be pinned at most .*ERR_QUOTA/);
  expect(await half.json<Pins>(['pin', 'own', '--length', '64KiB'])).toMatchObject({
    ranges: [{ offset: 0, length: 64 * 1024 }],
  });
});
