import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { scratch } from '../helpers/scratch.js';

const TIB = 2 ** 40;
/** What the machine may make of a bound in milliseconds while others use it, too. */
const NOISE = 20;

it('has 300 regions of 1 TiB, also after a restart, for next to nothing', async () => {
  const folder = scratch();
  const first = await serveAppliance({}, folder);
  const before = process.memoryUsage().rss;
  for (let at = 0; at < 300; at += 1) await first.appliance.create({ name: `r${at}`, size: TIB });
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
  const client = await connectClient(first.url);
  const region = await client.attach('r299');
  expect(await region.fetchAdd(TIB - 8, 1n)).toBe(0n);
  await client.close();
  await first.appliance.close();
  const began = performance.now();
  const second = await serveAppliance({}, folder);
  expect(performance.now() - began).toBeLessThan(100 * NOISE);
  expect(second.appliance.regions()).toHaveLength(300);
  const again = await (await connectClient(second.url)).attach('r150');
  expect((await again.read(TIB / 2, 8)).length).toBe(8);
});

it('serves a sparse file of 1 TiB at once, and syncs nothing of it at once', async () => {
  const folder = scratch();
  const { url } = await serveAppliance({}, folder);
  const client = await connectClient(url);
  const before = process.memoryUsage().rss;
  const serve = async (name: string) => {
    const file = join(folder, name);
    writeFileSync(file, '');
    truncateSync(file, TIB);
    const began = performance.now();
    const region = await client.allocate({ name, file });
    expect([...(await region.read(TIB - 3, 3))]).toEqual([0, 0, 0]);
    return { region, tookMs: performance.now() - began };
  };
  // Whoever has the machine meanwhile does not have it each time.
  const tries = [await serve('a'), await serve('b'), await serve('c'), await serve('d')];
  expect(Math.min(...tries.map(({ tookMs }) => tookMs))).toBeLessThan(3 * NOISE);
  const { region } = await serve('r');
  expect((await region.stat()).pages).toMatchObject({ total: TIB / 4096, present: 1, dirty: 0 });
  expect((await region.sync()).elapsedMs).toBeLessThan(1 * NOISE);
  await region.write(TIB / 2, Buffer.from('x'));
  expect((await region.sync()).pagesWritten).toBe(1);
  expect(process.memoryUsage().rss - before).toBeLessThan(16 * 2 ** 20);
});

it('syncs as many regions at once as a call may name', async () => {
  const client = await connectClient((await serveAppliance()).url);
  const all = Array.from({ length: 256 }, () => client.allocate({ size: 4096 }));
  const regions = await Promise.all(all);
  await regions[255]?.write(0, Buffer.from('x'));
  const receipts = await client.sync(regions);
  expect(receipts.map(({ region }) => region)).toEqual(regions.map(({ name }) => name));
});
