import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { RegionStat, TierList } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const PAGES = 200;
const POLL = { timeout: 20_000 };

it('promise 11: data moves from memory to compressed memory, and back when touched', async () => {
  const folder = scratch();
  const serve = await ServeProcess.start(folder, ['--tier', 'compressed:4MiB']);
  const client = await connectClient(serve.ready.control);
  const region = await client.allocate({ name: 'r', size: '1MiB', fill: 'zero' });
  const expected = patternOf(PAGES * PAGE);
  await region.write(0, expected);
  const tiers = async () => (await serve.json<TierList>(['tiers'])).tiers;
  const stat = async () => (await serve.json<RegionStat>(['stat', 'r'])).pages;
  expect(await stat()).toMatchObject({ present: PAGES, elsewhere: 0 });
  // The processor moves the first half of it, and says where it is.
  const half = (PAGES / 2) * PAGE;
  expect(await serve.json(['demote', 'r', '--length', `${half}`])).toEqual({
    region: 'r',
    pagesDemoted: PAGES / 2,
    pagesPinned: 0,
  });
  expect(await stat()).toMatchObject({ present: PAGES / 2, elsewhere: PAGES / 2, dirty: PAGES });
  expect(await tiers()).toMatchObject([{ kind: 'compressed', pages: PAGES / 2 }]);
  // To a client nothing has changed; touched pages are in memory again.
  expect(Buffer.compare(await region.read(0, half), expected.subarray(0, half))).toBe(0);
  expect(await stat()).toMatchObject({ present: PAGES, elsewhere: 0 });
  expect(await tiers()).toMatchObject([{ pages: 0, storedPages: PAGES / 2, lostPages: 0 }]);
});

it('promise 11: more is written than memory holds, and moves on from tier to tier', async () => {
  const folder = scratch();
  const spill = join(folder, 'spill');
  mkdirSync(spill);
  const words = [
    '--memory',
    '512KiB',
    '--tier',
    'compressed:512KiB',
    '--tier',
    `file:${spill}:32MiB`,
  ];
  const serve = await ServeProcess.start(folder, words);
  const region = await (await connectClient(serve.ready.control)).allocate({ size: '16MiB' });
  const bytes = readFileSync(process.execPath).subarray(0, 8 * 2 ** 20);
  await region.write(0, bytes);
  expect(Buffer.compare(await region.read(0, bytes.length), bytes)).toBe(0);
  const list = async () => await serve.json<TierList>(['tiers']);
  const pages = async () => (await serve.json<RegionStat>(['stat', region.name])).pages;
  expect(await pages()).toMatchObject({ dirty: bytes.length / PAGE, lost: 0 });
  // A page on its way from one level to the next is for a moment in both.
  const held = async () => (await list()).tiers.reduce((sum, tier) => sum + tier.pages, 0);
  await expect.poll(async () => (await held()) - (await pages()).elsewhere, POLL).toBe(0);
  const { memory, tiers } = await list();
  expect(memory.pages).toBeLessThanOrEqual(128);
  for (const tier of tiers) expect(tier.usedBytes).toBeLessThanOrEqual(tier.capacityBytes);
  expect(tiers[1]?.pages).toBeGreaterThan(0);
  // What it holds came in from above, whether memory or the other tier had it before.
  const came = async () => {
    const [, file] = (await list()).tiers;
    return file !== undefined && file.storedPages >= file.pages;
  };
  await expect.poll(came, POLL).toBe(true);
  // Nobody else sees the file, and nothing is left of it.
  expect(readdirSync(spill)).toEqual([]);
});
