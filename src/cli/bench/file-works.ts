/** READs of pages that are not present: from the device, the page cache, or a fill value. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import { AREA_BYTES, type Stage } from './stage.js';
import { figure, type Line } from './tool.js';
import { rounds, type Work } from './work.js';

const COLD_PAGES = 20_000;
const COLD_THREADS = 16;
const WINDOW_BYTES = 2 * 1024 * 1024;
const TOUCHES = 512;
const PAGE = 4096;
const SMALL = 64;
const FRESH_PAGES = 8000;
const PLACEMENT = 'two cores, not pinned';

/** Visits different pages of a file, each once, in a region that has none of them yet. */
async function visit(
  stage: Stage,
  options: { file: string; state: 'cold' | 'hot'; words: Record<string, string | number> },
): Promise<Line | undefined> {
  const { file, state, words } = options;
  await stage.run('cache', { file, state });
  const client = await stage.client('unix');
  const { name, size } = await client.create({ name: 'visited', file, access: 'read-only' });
  try {
    const reach = await stage.reach('tcp', name);
    const common = { 'region-size': size, sizes: PAGE };
    return (await stage.run('initiator', { ...common, ...words, ...reach }))[0];
  } finally {
    await stage.remove(name);
  }
}

async function withFile(
  stage: Stage,
  body: (file: string, size: number) => Promise<Row[]>,
): Promise<Row[]> {
  const file = join(stage.folder, 'data');
  const { fileBytes, signal } = stage.options;
  try {
    await makeFile(file, fileBytes, signal);
    return await body(file, fileBytes);
  } finally {
    rmSync(file, { force: true });
  }
}

async function cold(stage: Stage): Promise<Row[]> {
  return await withFile(stage, async (file, size) => {
    const told = await rounds(stage, async (seed) => {
      const pages = Math.min(COLD_PAGES, size / PAGE / 4);
      const raw = { file, size, pages, threads: COLD_THREADS, ways: 'pread', rounds: 1, seed };
      const [line] = await stage.run('cold', raw);
      const words = { mode: 'adaptive', visit: pages, depths: COLD_THREADS, seed: seed + 1000 };
      const own = await visit(stage, { file, state: 'cold', words });
      return { raw: figure(line, 'pagesPerSecond'), farpage: figure(own, 'opsPerSecond') };
    });
    const work = 'cold READs 4KiB of a file, tcp, depth 16, beside pread by 16 threads';
    const target = { of: 'ratio', least: 0.9 } as const;
    return [makeRow({ name: 'cold', work, placement: PLACEMENT, unit: '/s', target }, told)];
  });
}

async function hot(stage: Stage): Promise<Row[]> {
  return await withFile(stage, async (file, size) => {
    const connect = await stage.rawServer('tcp');
    const told = await rounds(stage, async (seed) => {
      const window = Math.min(WINDOW_BYTES, size / 16);
      const pages = Math.min(TOUCHES, size / window);
      const touch = { file, size, pages, window, rounds: 1, seed };
      const [fault] = await stage.run('touch', touch);
      const { mode, clientCore: core } = stage.placement;
      const trip = { connect, mode, core, sizes: PAGE, 'duration-ms': 100 };
      const [line] = await stage.run('client', trip);
      const words = { mode, core, visit: pages, depths: 1, window, seed: seed + 1000 };
      const own = await visit(stage, { file, state: 'hot', words });
      return {
        raw: figure(fault, 'p50Us') + figure(line, 'p50Us'),
        farpage: figure(own, 'p50Us'),
      };
    });
    const work = 'first touch of pages in the page cache, tcp, p50, beside mmap fault + round trip';
    const target = { of: 'ratio', most: 1.5 } as const;
    return [
      makeRow({ name: 'hot', work, placement: stage.options.placement, unit: 'us', target }, told),
    ];
  });
}

/** Pages of plain memory that nobody has touched yet, beside present ones. */
async function untouched(stage: Stage): Promise<Row[]> {
  const client = await stage.client('unix');
  const words = { mode: stage.placement.mode, core: stage.placement.clientCore, sizes: SMALL };
  const rows: Row[] = [];
  for (const fill of ['zero', 'one'] as const) {
    const told = await rounds(stage, async (seed) => {
      const reach = await stage.reach('tcp', 'bench');
      const present = { ...words, ...reach, 'duration-ms': stage.options.durationMs };
      const [raw] = await stage.run('initiator', present);
      await client.create({ name: 'visited', size: AREA_BYTES, fill });
      const fresh = { ...words, ...(await stage.reach('tcp', 'visited')), seed: seed + 1 };
      const [own] = await stage.run('initiator', { ...fresh, visit: FRESH_PAGES });
      await stage.remove('visited');
      return { raw: figure(raw, 'p50Us'), farpage: figure(own, 'p50Us') };
    });
    const work = `READ 64B of untouched ${fill} pages, tcp, p50, beside present pages`;
    const target = { of: 'ratio', most: 1.2 } as const;
    const { placement } = stage.options;
    rows.push(makeRow({ name: 'untouched', work, placement, unit: 'us', target }, told));
  }
  return rows;
}

export const FILE_WORKS: readonly Work[] = [
  { name: 'untouched', quick: true, files: 0, run: untouched },
  { name: 'cold', quick: false, files: 1, run: (stage) => stage.unpinned(() => cold(stage)) },
  { name: 'hot', quick: false, files: 1, run: hot },
];
