/** Atomic syncs beside plain ones of as many pages, and how long they keep a writer waiting. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ExternalRegion } from '../../client/external-region.js';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { dirty, dirtyPages, draw } from './sync-works.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const PLACEMENT = 'two cores, not pinned';
const TIMEOUT_MS = 120_000;
/** Writes that tell the time of one without a sync. */
const IDLE_WRITES = 4000;

/** Writes 64 bytes to one page after the other until told to stop; how long each took, in us. */
async function write(
  region: ExternalRegion,
  pages: Uint32Array,
  more: (count: number) => boolean,
): Promise<number[]> {
  const bytes = Buffer.alloc(64, 1);
  const times: number[] = [];
  // Those last in the region first, which the sync comes to last.
  for (let at = pages.length - 1; more(times.length); at = (at + pages.length - 1) % pages.length) {
    const began = performance.now();
    await region.write((pages[at] ?? 0) * PAGE, bytes);
    times.push((performance.now() - began) * 1e3);
  }
  return times;
}

function p99(times: readonly number[]): number {
  const sorted = [...times].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}

async function sync(region: ExternalRegion): Promise<number> {
  const began = performance.now();
  await region.sync({ timeoutMs: TIMEOUT_MS });
  return performance.now() - began;
}

interface Pair {
  readonly plain: ExternalRegion;
  readonly atomic: ExternalRegion;
  readonly count: number;
}

async function round({ plain, atomic, count }: Pair) {
  await dirty(plain, count);
  const raw = await sync(plain);
  await dirty(atomic, count);
  const farpage = await sync(atomic);
  const pages = draw(count, Math.floor(atomic.size / PAGE)).sort();
  await dirtyPages(atomic, pages);
  const rawWait = p99(await write(atomic, pages, (done) => done < IDLE_WRITES));
  let running = true;
  const ends = sync(atomic).finally(() => {
    running = false;
  });
  const waits = await write(atomic, pages, () => running);
  await ends;
  return { farpage, raw, wait: p99(waits), rawWait };
}

const atomicSync: Work = {
  name: 'sync-atomic',
  quick: false,
  files: 2,
  run: (stage: Stage) =>
    stage.unpinned(async (): Promise<Row[]> => {
      const { fileBytes, signal } = stage.options;
      const files = { plain: join(stage.folder, 'plain'), atomic: join(stage.folder, 'atomic') };
      const client = await stage.client('unix');
      try {
        for (const file of Object.values(files)) await makeFile(file, fileBytes, signal);
        await client.create({ name: 'plain', file: files.plain });
        await client.create({ name: 'atomic', file: files.atomic, atomic: true });
        const plain = await client.attach('plain', { access: 'read-write' });
        const atomic = await client.attach('atomic', { access: 'read-write' });
        const count = Math.floor(fileBytes / PAGE / 100);
        const told = await rounds(stage, () => round({ plain, atomic, count }));
        for (const name of ['plain', 'atomic']) await stage.remove(name);
        const head = { name: 'sync-atomic', placement: PLACEMENT };
        return [
          makeRow(
            {
              ...head,
              work: 'atomic sync of 1 % random dirty pages, beside a plain one',
              unit: 'ms',
              target: { of: 'ratio', most: 2.2 },
            },
            told,
          ),
          makeRow(
            {
              ...head,
              work: 'await write of 64 B while its pages are synced, p99, beside none synced',
              unit: 'us',
              target: { of: 'difference', most: 50 },
            },
            told.map(({ wait, rawWait }) => ({ farpage: wait, raw: rawWait })),
          ),
        ];
      } finally {
        for (const file of Object.values(files)) rmSync(file, { force: true });
      }
    }),
};

export const ATOMIC_WORKS: readonly Work[] = [atomicSync];
