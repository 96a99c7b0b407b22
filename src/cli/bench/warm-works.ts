/** A restart, and how long until what is used is in memory again. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../client/client.js';
import type { ExternalRegion } from '../../client/external-region.js';
import { Serving } from '../serving.js';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const FILE_BYTES_MAX = 1024 ** 3;
/** Pages in use: 64 MiB. */
const HOT_PAGES = 16_384;
/** READs between two looks. */
const BATCH = 512;
/** How many of them at once: a client that waits for each, and one that waits for none. */
const DEPTHS = [1, 16] as const;
const BYPASSED_PART = 0.9;
const PLACEMENT = 'two cores, not pinned';

/** Pages in use, scattered over the file and the same in every round, most of them alone. */
function hotPages(pages: number): number[] {
  const hot = Math.min(HOT_PAGES, Math.floor(pages / 4));
  // Steps of a golden part of the file meet no page twice and leave no two neighbours.
  const step = Math.floor(pages * 0.618) | 1;
  return Array.from({ length: hot }, (_, at) => ((at + 1) * step) % pages);
}

/** READs of pages in no order, `depth` at a time. */
async function readBatch(region: ExternalRegion, depth: number, next: () => number) {
  for (let done = 0; done < BATCH; done += depth) {
    await Promise.all(Array.from({ length: depth }, () => region.read(next() * PAGE, 64)));
  }
}

/** Milliseconds from `began` until most of a batch's operations bypassed. */
async function untilWarm(
  region: ExternalRegion,
  use: { pages: readonly number[]; depth: number },
  began: number,
) {
  const { pages, depth } = use;
  let seed = 1;
  const next = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return pages[seed % pages.length] ?? 0;
  };
  for (;;) {
    const before = (await region.stat()).operations;
    await readBatch(region, depth, next);
    const after = (await region.stat()).operations;
    const bypassed = after.bypassed - before.bypassed;
    if (bypassed >= BYPASSED_PART * (bypassed + after.faulted - before.faulted)) {
      return performance.now() - began;
    }
  }
}

async function warm(stage: Stage): Promise<Row[]> {
  const file = join(stage.folder, 'warmed');
  const size = Math.min(FILE_BYTES_MAX, stage.options.fileBytes);
  const pages = hotPages(size / PAGE);
  const socket = join(stage.folder, 'warm');
  const words = ['--socket', socket, '--state', `${socket}-state`, `warmed=${file}`];
  const withRegion = async <T>(body: (region: ExternalRegion, began: number) => Promise<T>) => {
    const began = performance.now();
    await using serving = await Serving.start(words);
    await using client = await connect(serving.url, { signal: stage.signal });
    return await body(await client.attach('warmed'), began);
  };
  /** A start with the file out of the page cache. */
  const coldStart = async (depth: number) => {
    await stage.run('cache', { file, state: 'cold' });
    return await withRegion((region, began) => untilWarm(region, { pages, depth }, began));
  };
  try {
    await makeFile(file, size, stage.signal);
    const rows: Row[] = [];
    for (const depth of DEPTHS) {
      const told = await rounds(stage, async () => {
        await withRegion((region) => region.workingSet.forget());
        const raw = await coldStart(depth);
        await withRegion(async (region) => {
          for (const page of pages) await region.read(page * PAGE, 64);
          await region.workingSet.save();
        });
        return { farpage: await coldStart(depth), raw };
      });
      const hot = `${pages.length} scattered pages of a cold file in use, unix, depth ${depth}`;
      const work = `restart with ${hot}: until 90 % bypass, working set replayed, beside without`;
      rows.push(makeRow({ name: 'warm', work, placement: PLACEMENT, unit: 'ms' }, told));
    }
    return rows;
  } finally {
    rmSync(file, { force: true });
  }
}

export const WARM_WORKS: readonly Work[] = [
  { name: 'warm', quick: false, files: 1, run: (stage) => stage.unpinned(() => warm(stage)) },
];
