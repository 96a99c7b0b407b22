import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { RegionStat, TierList } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';
import { whenStopped } from '../helpers/threads.js';

const PAGE = 4096;
const LENGTH = 2 * 2 ** 20;
const POLL = { timeout: 20_000 };

/** Another appliance with a region `pool`, and this one with a tier there and little memory. */
async function servePair(pool: readonly string[] = ['--size', '64MiB']) {
  const there = await ServeProcess.start(scratch());
  await there.json(['create', 'pool', ...pool]);
  const url = `${there.ready.control}?region=pool`;
  const folder = scratch();
  const here = await ServeProcess.start(folder, ['--memory', '256KiB', '--tier', url]);
  const region = await (await connectClient(here.ready.control)).allocate({ size: '8MiB' });
  return { there, here, url, region, folder };
}

const tierOf = async (serve: ServeProcess) => (await serve.json<TierList>(['tiers'])).tiers[0];
const pagesOf = async (serve: ServeProcess, name: string) =>
  (await serve.json<RegionStat>(['stat', name])).pages;
const stateOf = (serve: ServeProcess) =>
  expect.poll(async () => (await tierOf(serve))?.state, POLL);

it('keeps more than memory holds at another appliance, and finds it there again', async () => {
  const { there, here, url, region } = await servePair();
  const expected = patternOf(LENGTH);
  await region.write(0, expected);
  expect(Buffer.compare(await region.read(0, LENGTH), expected)).toBe(0);
  const tier = await tierOf(here);
  expect(tier).toMatchObject({ kind: 'appliance', pool: url, state: 'connected', lostPages: 0 });
  expect(tier?.capacityBytes).toBe(64 * 2 ** 20);
  expect(tier?.pages).toBeGreaterThanOrEqual(LENGTH / PAGE - 64);
  expect(await pagesOf(here, region.name)).toMatchObject({ lost: 0, unreachable: 0 });
  // It was put there by WRITEs alone, and read back by READs: no request of the control plane.
  const stat = await there.json<RegionStat>(['stat', 'pool']);
  expect(stat.pages.present).toBeGreaterThanOrEqual(tier?.pages ?? 0);
  expect((await here.run(['tiers'])).stdout.toString()).toContain(`${url}, connected`);
  // What it ends with: the other appliance may give the pool to somebody else.
  expect(await here.end()).toBe(0);
  const next = await ServeProcess.start(scratch(), ['--tier', url]);
  await stateOf(next).toBe('connected');
});

it.each(['its socket', 'TCP'])('gives a pool its memory back, asked through %s', async (door) => {
  const there = await ServeProcess.start(scratch(), ['--listen', '127.0.0.1:0']);
  await there.json(['create', 'pool', '--size', '64MiB']);
  const { tcp, control } = there.ready;
  const url = door === 'TCP' ? `${tcp}/pool` : `${control}?region=pool`;
  const here = await ServeProcess.start(scratch(), ['--memory', '256KiB', '--tier', url]);
  const client = await connectClient(here.ready.control);
  const [goes, stays] = [
    await client.allocate({ size: '8MiB' }),
    await client.allocate({ size: '8MiB' }),
  ];
  const present = async () => (await pagesOf(there, 'pool')).present;
  await goes.write(0, patternOf(2 * LENGTH));
  const expected = patternOf(LENGTH / 2);
  await stays.write(0, expected);
  expect(await present()).toBeGreaterThanOrEqual((2 * LENGTH) / PAGE);
  await here.json(['rm', goes.name, '--discard']);
  await expect.poll(present, POLL).toBeLessThan((1.25 * LENGTH) / PAGE);
  expect(Buffer.compare(await stays.read(0, expected.length), expected)).toBe(0);
  expect(await here.end()).toBe(0);
  expect(await present()).toBe(0);
});

it('syncs a file whose dirty pages are at another appliance', async () => {
  const { url, there } = await servePair();
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await there.json(['create', 'second', '--size', '16MiB']);
  const second = `${url.replace('=pool', '=second')}:8MiB`;
  const words = [`r=${file}`, '--memory', '256KiB', '--tier', 'compressed:128KiB'];
  const serve = await ServeProcess.start(folder, [...words, '--tier', second]);
  const elsewhere = async () => (await serve.json<TierList>(['tiers'])).tiers[1]?.state;
  await expect.poll(elsewhere, POLL).toBe('connected');
  const region = await (await connectClient(serve.ready.control)).attach('r');
  const expected = patternOf(LENGTH);
  for (let offset = 0; offset < LENGTH; offset += 2 * PAGE) {
    expected.write(`page at ${offset}`, offset);
    await region.write(offset, Buffer.from(`page at ${offset}`));
  }
  const { tiers } = await serve.json<TierList>(['tiers']);
  expect(tiers[1]).toMatchObject({ kind: 'appliance', capacityBytes: 8 * 2 ** 20 });
  expect(tiers[1]?.pages).toBeGreaterThan(0);
  expect(await serve.json(['sync', 'r'])).toMatchObject({ pagesWritten: LENGTH / PAGE / 2 });
  expect(Buffer.compare(await region.read(0, LENGTH), expected)).toBe(0);
  expect(await serve.end()).toBe(0);
});

it('goes on without it: what is there alone ends with a code and is counted', async () => {
  const { there, here, region } = await servePair();
  const expected = patternOf(LENGTH);
  await region.write(0, expected);
  await there.end('SIGKILL');
  await stateOf(here).toBe('away');
  const away = await pagesOf(here, region.name);
  expect(away.unreachable).toBe(away.elsewhere);
  expect(away.unreachable).toBeGreaterThanOrEqual(LENGTH / PAGE - 64);
  const told = (await here.run(['stat', region.name])).stdout.toString();
  expect(told).toContain(`(${away.unreachable} of them away)`);
  await expect.poll(async () => (await tierOf(here))?.error?.code, POLL).toBe('ERR_NO_APPLIANCE');
  expect(await codeOf(() => region.read(0, 1))).toBe('ERR_TIER_AWAY');
  // What is in memory goes on; what would need room there is refused once memory is full.
  expect(
    Buffer.from(await region.read(LENGTH - PAGE, PAGE)).equals(expected.subarray(LENGTH - PAGE)),
  ).toBe(true);
  const full = async () => {
    for (let offset = LENGTH; offset < LENGTH + 2 ** 20; offset += PAGE) {
      await region.write(offset, Buffer.alloc(PAGE, 1));
    }
  };
  expect(await codeOf(full)).toBe('ERR_NO_SPACE');
  // It comes back as another process: its memory is another one, and what was there is lost.
  await ServeProcess.start(there.folder);
  await stateOf(here).toBe('connected');
  expect(await codeOf(() => region.read(0, 1))).toBe('ERR_PAGE_LOST');
  expect((await pagesOf(here, region.name)).lost).toBeGreaterThan(0);
  await full();
  expect(Buffer.from(await region.read(LENGTH, PAGE)).equals(Buffer.alloc(PAGE, 1))).toBe(true);
}, 60_000);

it('waits for one that hangs within a bound, and finds everything when it goes on', async () => {
  const { there, here, region } = await servePair();
  const expected = patternOf(LENGTH);
  await region.write(0, expected);
  there.child.kill('SIGSTOP');
  await whenStopped(there.ready.pid);
  expect(await codeOf(() => region.read(0, 1, { timeoutMs: 60_000 }))).toBe('ERR_TIER_AWAY');
  expect((await tierOf(here))?.state).toBe('away');
  expect(await codeOf(() => region.read(PAGE, 1, { timeoutMs: 60_000 }))).toBe('ERR_TIER_AWAY');
  there.child.kill('SIGCONT');
  await stateOf(here).toBe('connected');
  expect(Buffer.compare(await region.read(0, LENGTH), expected)).toBe(0);
  expect(await pagesOf(here, region.name)).toMatchObject({ lost: 0, unreachable: 0 });
}, 60_000);

it('loses what was in a pool that is removed, and tells so', async () => {
  const { there, here, region } = await servePair();
  await region.write(0, patternOf(LENGTH));
  await there.json(['rm', 'pool', '--discard']);
  // The first touch finds out.
  await expect.poll(() => codeOf(() => region.read(0, 1)), POLL).toBe('ERR_PAGE_LOST');
  expect(await tierOf(here)).toMatchObject({ state: 'away', capacityBytes: 0 });
  expect((await tierOf(here))?.error?.code).toBe('ERR_NO_SUCH_REGION');
  await there.json(['create', 'pool', '--size', '1MiB']);
  await stateOf(here).toBe('connected');
  expect((await tierOf(here))?.capacityBytes).toBe(2 ** 20);
}, 60_000);

it('begins without the other appliance, and uses it once it is there', async () => {
  const other = scratch();
  const socket = join(other, 's');
  const tier = `farpage+unix:${socket}?region=pool`;
  const here = await ServeProcess.start(scratch(), ['--memory', '256KiB', '--tier', tier]);
  expect(await tierOf(here)).toMatchObject({ capacityBytes: 0, pages: 0 });
  const region = await (await connectClient(here.ready.control)).allocate({ size: '8MiB' });
  const fill = async () => await region.write(0, patternOf(LENGTH));
  expect(await codeOf(fill)).toBe('ERR_NO_SPACE');
  const there = await ServeProcess.start(other);
  await expect.poll(async () => (await tierOf(here))?.state, POLL).toBe('away');
  await there.json(['create', 'pool', '--size', '64MiB']);
  await stateOf(here).toBe('connected');
  await fill();
  expect(Buffer.compare(await region.read(0, LENGTH), patternOf(LENGTH))).toBe(0);
}, 60_000);

it('refuses pools that are none', async () => {
  const there = await ServeProcess.start(scratch());
  await there.json(['create', 'pool', '--size', '1MiB']);
  const file = patternFile(scratch(), { length: PAGE });
  await there.json(['create', 'fixed', '--file', file, '--access', 'read-only']);
  const base = there.ready.control;
  const serve = async (tier: string, words: readonly string[] = []) => {
    const folder = scratch();
    const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    const run = await farpage(['serve', '--json', ...doors, ...words, '--tier', tier]);
    return [run.code, (JSON.parse(run.stderr) as { code: string }).code];
  };
  expect(await serve(`${base}?region=nobody`)).toEqual([1, 'ERR_NO_SUCH_REGION']);
  expect(await serve(`${base}?region=fixed`)).toEqual([1, 'ERR_ACCESS']);
  expect(await serve(`${base}?region=pool:2MiB`)).toEqual([1, 'ERR_RANGE']);
  expect(await serve(`${base}?region=pool:1KiB`)).toEqual([2, 'ERR_ARGUMENT']);
  expect(await serve(`${base}?region=pool:2MiB:2MiB`)).toEqual([2, 'ERR_ARGUMENT']);
  expect(await serve(`${base}?region=pool:many`)).toEqual([2, 'ERR_SIZE']);
  expect(await serve(base)).toEqual([2, 'ERR_ARGUMENT']);
  expect(await serve('farpage://127.0.0.1:1')).toEqual([2, 'ERR_ARGUMENT']);
  // Itself, by whatever name.
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'mine', '--size', '1MiB']);
  expect(await first.end()).toBe(0);
  const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const own = `farpage+unix:${join(folder, 's')}?region=mine`;
  const run = await farpage(['serve', '--json', ...doors, '--tier', own]);
  expect(run.stderr).toContain('this very appliance');
  expect(run.code).toBe(2);
});

it('shares a pool with nobody', async () => {
  const { url, region } = await servePair();
  await region.write(0, patternOf(LENGTH));
  const second = await ServeProcess.start(scratch(), ['--tier', url]);
  await stateOf(second).toBe('away');
  expect((await tierOf(second))?.error?.code).toBe('ERR_REGION_CARVED');
  expect(Buffer.compare(await region.read(0, LENGTH), patternOf(LENGTH))).toBe(0);
});
