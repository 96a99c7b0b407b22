import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const PAGE = 4096;

it('demotes what nobody used for some time and nothing else', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 2 ** 20 });
  const tier = ['--tier', 'compressed:4MiB', '--age-tick', '100ms'];
  const serve = await ServeProcess.start(folder, [`notes=${file}`, '--read-ahead', '0', ...tier]);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  await region.write(0, Buffer.alloc(8 * PAGE, 'x'));
  await region.read(100 * PAGE, 8 * PAGE);
  // Nothing is that old yet, unless this took a second; what is used goes on being young.
  let pagesDemoted = 0;
  const young: number[] = [];
  const work = async () => {
    const began = performance.now();
    for (const page of [3, 101]) await region.read(page * PAGE, 1);
    await sleep(300); // Some ticks, and not the second that was asked for.
    pagesDemoted += await region.demote({ cold: '1s' });
    for (const page of [3, 101]) {
      const { cells } = await region.pageMap({ offset: page * PAGE, length: PAGE });
      // However slow the machine is: only what was used less than a second ago counts.
      if (performance.now() - began < 1000) young.push((cells[0] ?? 0) & 1);
    }
    return pagesDemoted;
  };
  await expect.poll(work, { timeout: 30_000, interval: 50 }).toBeGreaterThanOrEqual(14);
  expect(young).not.toContain(0);
  const told = await serve.json(['demote', 'notes', '--cold', '1s']);
  expect(told).toMatchObject({ region: 'notes', coldMs: 1000 });
  await region.read(3 * PAGE, 1);
  const { pages } = await serve.json<RegionStat>(['stat', 'notes']);
  expect(pages).toMatchObject({ dirty: 8 });
  expect(pages.elsewhere).toBeGreaterThanOrEqual(7);
  const line = (await serve.run(['demote', 'notes', '--cold', '2s'])).stdout.toString();
  expect(line).toMatch(/^notes: \d+ pages?, .*, unused for 2s or longer\n$/);
  await region.write(200 * PAGE, Buffer.from('young'));
  expect(await region.demote({ cold: '5m', offset: 200 * PAGE })).toBe(0);
});

it('rounds an age up to what is known, and refuses more', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 2 ** 20 });
  const serve = await ServeProcess.start(folder, [`notes=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  expect(await serve.json(['demote', 'notes', '--cold', '31s'])).toMatchObject({ coldMs: 60_000 });
  expect(await serve.json(['demote', 'notes', '--cold', '1d'])).toMatchObject({
    coldMs: 86_400_000,
    pagesDemoted: 0,
  });
  const late = await serve.run(['demote', 'notes', '--cold', '2d']);
  expect(late.stderr).toMatch(/ages of pages are known up to 25h, not 2d \[ERR_ARGUMENT\]/);
  const wrong = await serve.run(['demote', 'notes', '--cold', 'old']);
  expect(wrong.stderr).toMatch(/"old" is no age such as 30s, 10m, 2h or 1d/);
  await expect(region.demote({ cold: '1w' })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  await expect(region.demote({ cold: 10 ** 12 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
});
