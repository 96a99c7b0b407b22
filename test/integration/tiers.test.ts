import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ControlClient } from '../../src/control/http-client.js';
import type { RegionStat, TierList } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const LENGTH = 4 * 2 ** 20;

it('writes a file back from the tiers on a sync, its dirty pages and no others', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const tiers = ['--tier', 'compressed:256KiB', '--tier', `file:${join(folder, 'spill')}:16MiB`];
  const serve = await ServeProcess.start(folder, [`r=${file}`, '--memory', '256KiB', ...tiers]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  const expected = patternOf(LENGTH);
  // Every other page, four times as many as memory holds: the file does not change.
  for (let offset = 0; offset < LENGTH; offset += 2 * PAGE) {
    expected.write(`page at ${offset}`, offset);
    await region.write(offset, Buffer.from(`page at ${offset}`));
  }
  expect(Buffer.compare(readFileSync(file), patternOf(LENGTH))).toBe(0);
  const { pages } = await serve.json<RegionStat>(['stat', 'r']);
  expect(pages).toMatchObject({ dirty: LENGTH / PAGE / 2 });
  expect(pages.elsewhere).toBeGreaterThan(LENGTH / PAGE / 4);
  const picture = (await serve.run(['stat', 'r'])).stdout.toString();
  expect(picture).toMatch(/t in a tier/);
  const receipt = await serve.json(['sync', 'r']);
  expect(receipt).toMatchObject({ pagesWritten: LENGTH / PAGE / 2, durable: true });
  expect(Buffer.compare(readFileSync(file), expected)).toBe(0);
  // What was moving between the tiers when the sync took it is let go of a moment later.
  const held = async () => (await serve.json<TierList>(['tiers'])).tiers.map(({ pages }) => pages);
  await expect.poll(held, { timeout: 20_000 }).toEqual([0, 0]);
  expect(Buffer.compare(await region.read(0, LENGTH), expected)).toBe(0);
  expect(await serve.end()).toBe(0);
});

it('syncs what is in the tiers when it is told to end', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder, [`r=${file}`, '--tier', 'compressed:8MiB']);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.write(7 * PAGE, Buffer.alloc(20 * PAGE, 'x'));
  expect(await region.demote()).toBe(20);
  expect(await region.promote({ offset: 7 * PAGE, length: 5 * PAGE })).toBe(5);
  expect(await serve.end()).toBe(0);
  const expected = patternOf(LENGTH).fill('x', 7 * PAGE, 27 * PAGE);
  expect(Buffer.compare(readFileSync(file), expected)).toBe(0);
});

it('stops writers when every tier is full, with a code, and serves on', async () => {
  const serve = await ServeProcess.start(scratch(), [
    '--memory',
    '128KiB',
    '--tier',
    'compressed:64KiB',
  ]);
  const region = await (await connectClient(serve.ready.control)).allocate({ size: '8MiB' });
  await expect(
    (async () => {
      for (let offset = 0; offset < 2 ** 20; offset += PAGE) {
        await region.write(offset, randomBytes(PAGE));
      }
    })(),
  ).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
  expect((await region.read(0, 16)).length).toBe(16);
});

it.each([
  ['gold:1MiB', /"gold:1MiB" is no tier; write compressed:SIZE, file:DIRECTORY:SIZE or farpage:/],
  ['compressed', /is no tier/],
  ['compressed:5MB', /ERR_SIZE/],
  ['compressed:4KiB', /compressed tier: 65536 bytes at least/],
  ['file:1MiB', /is no tier/],
  ['file:/dev/null/nowhere:1MiB', /nowhere is no directory \[ERR_ARGUMENT\]/],
  ['file:/dev/null:1MiB', /the tier's \/dev\/null is no directory \[ERR_ARGUMENT\]/],
  ['file:/nowhere/at/all:1MiB', /lies in a directory that is missing \[ERR_ARGUMENT\]/],
])('refuses the tier %s', async (tier, message) => {
  const folder = scratch();
  const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const run = await farpage(['serve', ...doors, '--tier', tier]);
  expect(run.code).not.toBe(0);
  expect(run.stderr).toMatch(message);
  expect(run.stderr.trim().split('\n')).toHaveLength(1);
});

it('says that there are no tiers, and evicts clean pages all the same', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder, [`r=${file}`, '--tier', 'none']);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.read(0, 10 * PAGE);
  await region.write(0, Buffer.from('stays'));
  expect((await serve.json<TierList>(['tiers'])).tiers).toEqual([]);
  expect((await serve.run(['tiers'])).stdout.toString()).toMatch(/no tiers/);
  expect(await region.demote()).toBe(9);
  expect((await region.stat()).pages).toMatchObject({ present: 1, dirty: 1, elsewhere: 0 });
});

it('tells at the TCP door no path, of files or of sockets', async () => {
  const folder = scratch();
  const url = `farpage+unix:${join(folder, 'nobody')}?region=pool`;
  const { appliance, control } = await serveAppliance({
    listen: '127.0.0.1:0',
    tiers: [`file:${join(folder, 'spill')}:1MiB`, url],
  });
  const { tcp } = appliance.doors;
  const door = new ControlClient({ address: tcp! });
  onTestFinished(() => door.close());
  // The pager has to hear it from whoever tried.
  const stateOf = async () => (await door.call('tiers', {})).tiers[1]?.state;
  await expect.poll(stateOf, { timeout: 10_000 }).toBe('away');
  const there = await door.call('tiers', {});
  expect(JSON.stringify(there)).not.toContain(folder);
  expect(there.tiers).toMatchObject([
    { kind: 'file', directory: 'spill' },
    { kind: 'appliance', pool: 'farpage+unix:nobody?region=pool', state: 'away' },
  ]);
  expect(there.tiers[1]?.error?.message).toContain('no appliance answers there');
  const here = await control.call('tiers', {});
  expect(here.tiers).toMatchObject([{ directory: join(folder, 'spill') }, { pool: url }]);
});
