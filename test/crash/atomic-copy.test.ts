import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const PAGES = 1024;
const SIZE = PAGES * PAGE;
/** Each sync writes every n-th page, beginning with its number. */
const STRIDE = 23;
const ROUNDS = Number(process.env.FARPAGE_KILLS ?? 5);
const SEED = Number(process.env.FARPAGE_SEED ?? 5);
const pattern = patternOf(SIZE);

const writes = (number: number, page: number) => page % STRIDE === number % STRIDE;

/** The sync that wrote a page last, as of sync `number`; 0 for none: it is the source's. */
function lastWriter(number: number, page: number): number {
  for (let one = number; one > Math.max(0, number - STRIDE); one -= 1) {
    if (writes(one, page)) return one;
  }
  return 0;
}

/** What the region holds as of sync `number`. */
function contentOf(number: number): Buffer {
  const content = Buffer.from(pattern);
  for (let page = 0; page < PAGES; page += 1) {
    const writer = lastWriter(number, page);
    if (writer > 0) content.fill(Buffer.from(`sync ${writer}.`), page * PAGE, (page + 1) * PAGE);
  }
  return content;
}

/** Writes the pages of a sync. */
async function write(region: ExternalRegion, number: number): Promise<void> {
  const bytes = Buffer.alloc(PAGE, `sync ${number}.`);
  const pages = Array.from({ length: PAGES }, (_, page) => page);
  const mine = pages.filter((page) => writes(number, page));
  await Promise.all(mine.map((page) => region.write(page * PAGE, bytes, { timeoutMs: 2000 })));
}

it('of an atomic copy there is one sync or the next when it is killed in a pull', async () => {
  const sourceFolder = scratch();
  const file = join(sourceFolder, 'model');
  writeFileSync(file, pattern);
  const source = await ServeProcess.start(sourceFolder);
  await source.json(['create', 'model', '--file', file]);
  const from = `${source.ready.control}?region=model`;
  const folder = scratch();
  let told = 0;
  let begun = 0;
  const open = async () => {
    const serve = await ServeProcess.start(folder, ['--memory', '2MiB']);
    if (begun === 0) {
      const made = await serve.json(['create', 'copy', '--from', from, '--atomic']);
      expect(made).toMatchObject({ atomic: true, persist: true });
    }
    const client = await connectClient(serve.ready.control);
    const region = await client.attach('copy');
    const found = Buffer.from(await region.read(0, SIZE));
    const fits = [told, begun].find((number) => found.equals(contentOf(number)));
    expect(fits, `neither sync ${told} nor ${begun}, seed ${SEED}`).toBeDefined();
    told = begun = fits ?? 0;
    return { serve, region };
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const { serve, region } = await open();
    const sync = async () => {
      for (;;) {
        begun = told + 1;
        await write(region, begun);
        await region.sync({ timeoutMs: 2000 });
        told = begun;
      }
    };
    const pull = region.prefetch({ wait: true, timeoutMs: 2000 });
    const work = [sync(), pull].map((one) => one.catch(() => {}));
    await sleep(20 + ((SEED * 7919 + round * 104_729) % 251));
    await serve.end('SIGKILL');
    await Promise.all(work);
  }
  const { serve, region } = await open();
  begun = told + 1;
  await write(region, begun);
  await region.prefetch({ wait: true });
  await serve.json(['detach', 'copy']);
  told = begun;
  await source.end('SIGKILL');
  expect(Buffer.from(await region.read(0, SIZE)).equals(contentOf(told))).toBe(true);
  await serve.end('SIGKILL');
  const last = await open();
  expect((await last.region.stat()).from).toMatchObject({ detached: true, needed: 0 });
  expect(told).toBeGreaterThan(1);
});
