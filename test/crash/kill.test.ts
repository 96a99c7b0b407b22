import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connect } from '../../src/client/client.js';
import type { TierList } from '../../src/control/schema.js';
import { ServeProcess } from '../helpers/cli.js';
import { pageOf, versionOf } from '../helpers/crash.js';
import { patternFile, patternOf, scratchOnDisk } from '../helpers/scratch.js';

const PAGES = 64;
const ROUNDS = 6;

/** The tiers that took pages. */
async function takenBy(serve: ServeProcess) {
  const { tiers } = await serve.json<TierList>(['tiers']);
  return tiers.filter(({ storedPages }) => storedPages > 0);
}

/** Pages that are written before each sync: more than there are frames, where pages are to go. */
const PLACES = [
  { place: 'memory', tiers: 0, batch: 8, words: () => [] },
  {
    place: 'a few frames and tiers',
    tiers: 2,
    batch: 40,
    words: (folder: string) => {
      const tiers = ['--tier', 'compressed:64KiB', '--tier', `file:${folder}:1MiB`];
      return ['--memory', '64KiB', ...tiers];
    },
  },
  {
    place: 'a few frames and the file that takes what no tier is named for',
    tiers: 1,
    batch: 40,
    words: () => ['--memory', '64KiB'],
  },
];

it.each(PLACES)('what had been synced stays when it is killed, in $place', async (at) => {
  const folder = scratchOnDisk();
  const file = patternFile(folder, { length: PAGES * 4096 });
  // What is intended for each page, and what a finished sync has promised of it.
  const intended = new Array<number>(PAGES).fill(0);
  const promised = new Array<number>(PAGES).fill(0);
  let version = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const serve = await ServeProcess.start(folder, [`r=${file}`, ...at.words(folder)]);
    const client = await connect(serve.ready.control);
    const region = await client.attach('r');
    let alive = true;
    const work = (async () => {
      while (alive) {
        for (let n = 0; n < at.batch; n += 1) {
          version += 1;
          const page = (version * 7) % PAGES;
          intended[page] = version;
          await region.write(page * 4096, pageOf(version), { timeoutMs: 2000 });
        }
        const before = [...intended];
        await region.sync({ timeoutMs: 2000 });
        for (const [page, seen] of before.entries()) promised[page] = seen;
      }
    })().catch(() => {});
    await sleep(60 + round * 37);
    if (round === ROUNDS - 1) {
      await expect.poll(() => takenBy(serve), { timeout: 10_000 }).toHaveLength(at.tiers);
    }
    await serve.end('SIGKILL');
    alive = false;
    await work;
    await client.close();
    const bytes = readFileSync(file);
    for (let page = 0; page < PAGES; page += 1) {
      const found = bytes.subarray(page * 4096, (page + 1) * 4096);
      const original = patternOf(PAGES * 4096).subarray(page * 4096, (page + 1) * 4096);
      const seen = Buffer.compare(found, original) === 0 ? 0 : versionOf(found);
      expect(seen, `page ${page} is torn`).toBeDefined();
      expect(seen).toBeGreaterThanOrEqual(promised[page] ?? 0);
      expect(seen).toBeLessThanOrEqual(intended[page] ?? 0);
      // The next round begins with what the file has now.
      promised[page] = seen ?? 0;
      intended[page] = seen ?? 0;
    }
  }
  expect(Math.max(...promised)).toBeGreaterThan(0);
});
