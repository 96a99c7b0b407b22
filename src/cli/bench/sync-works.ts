/** Making random dirty pages of a file durable, beside the three ways a program has of its own. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ExternalRegion } from '../../client/external-region.js';
import { deviceBytes, makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { figure, type Line } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const LANES = 64;
const WAYS = 'pwrite,uring,msync';
const PLACEMENT = 'two cores, not pinned';
const TIMEOUT_MS = 120_000;

/** `count` different numbers below `limit`, by Fisher and Yates. */
export function draw(count: number, limit: number): Uint32Array {
  const all = Uint32Array.from({ length: limit }, (_, index) => index);
  for (let at = 0; at < count; at++) {
    const other = at + Math.floor(Math.random() * (limit - at));
    const chosen = all[other] ?? 0;
    all[other] = all[at] ?? 0;
    all[at] = chosen;
  }
  return all.subarray(0, count);
}

/** Makes `count` random pages dirty, each by one write of all of it. */
export async function dirty(region: ExternalRegion, count: number): Promise<void> {
  await dirtyPages(region, draw(count, Math.floor(region.size / PAGE)));
}

/** Makes these pages dirty, each by one write of all of it. */
export async function dirtyPages(region: ExternalRegion, pages: Uint32Array): Promise<void> {
  const count = pages.length;
  const bytes = Buffer.alloc(PAGE, Math.floor(Math.random() * 256));
  let next = 0;
  const lane = async () => {
    while (next < count) await region.write((pages[next++] ?? 0) * PAGE, bytes);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

interface SyncRound {
  readonly farpage: number;
  readonly raw: Readonly<Record<string, number>>;
  readonly farpageDevice: number | undefined;
  readonly rawDevice: Readonly<Record<string, number | undefined>>;
}

function byWay<T>(lines: readonly Line[], take: (line: Line) => T): Record<string, T> {
  return Object.fromEntries(lines.map((line) => [String(line.way), take(line)]));
}

interface Files {
  readonly own: string;
  readonly raw: string;
  readonly region: ExternalRegion;
  readonly count: number;
  readonly permille: number;
}

async function syncRound(stage: Stage, files: Files, seed: number): Promise<SyncRound> {
  const { own, raw, region, count, permille } = files;
  const size = region.size;
  const words = { file: raw, size, permille, ways: WAYS, rounds: 1, seed: seed * 16 };
  const lines = await stage.run('sync', words);
  await stage.run('cache', { file: own, state: 'hot' });
  await dirty(region, count);
  const before = deviceBytes(own);
  const began = performance.now();
  await region.sync({ timeoutMs: TIMEOUT_MS });
  const farpage = performance.now() - began;
  const after = deviceBytes(own);
  return {
    farpage,
    raw: byWay(lines, (line) => figure(line, 'elapsedMs')),
    farpageDevice: before === undefined || after === undefined ? undefined : after - before,
    rawDevice: byWay(lines, ({ deviceBytes: bytes }) =>
      bytes === null ? undefined : Number(bytes),
    ),
  };
}

function rowsOf(told: readonly SyncRound[], head: { percent: number; count: number }): Row[] {
  const { percent, count } = head;
  const name = `sync-${percent}`;
  const common = { name, placement: PLACEMENT };
  const ways = WAYS.split(',').map((way) => {
    const time = median(told.map(({ raw }) => raw[way] ?? Number.NaN));
    return `${way} ${time.toFixed(0)} ms`;
  });
  const note = ways.join(', ');
  const best = (raw: Readonly<Record<string, number>>) =>
    Math.min(raw.pwrite ?? Number.NaN, raw.uring ?? Number.NaN);
  const time = makeRow(
    {
      ...common,
      work: `sync of ${percent} % random dirty pages, beside the best of pwrite and io_uring`,
      unit: 'ms',
      target: { of: 'ratio', most: 1.15 },
      note,
    },
    told.map(({ farpage, raw }) => ({ farpage, raw: best(raw) })),
  );
  const dirtyBytes = count * PAGE;
  const counted = told.filter(({ farpageDevice }) => farpageDevice !== undefined);
  if (counted.length === 0) return [time];
  const msync = median(told.map(({ rawDevice }) => (rawDevice.msync ?? Number.NaN) / dirtyBytes));
  const bytes = makeRow(
    {
      ...common,
      work: `bytes to the device of that sync, beside the dirty bytes`,
      unit: 'B',
      target: { of: 'ratio', most: 1.05 },
      note: `msync ${msync.toFixed(1)} x`,
    },
    counted.map(({ farpageDevice = Number.NaN }) => ({ farpage: farpageDevice, raw: dirtyBytes })),
  );
  return [time, bytes];
}

function workOf(percent: number): Work {
  const run = async (stage: Stage): Promise<Row[]> => {
    const { fileBytes, signal } = stage.options;
    const own = join(stage.folder, 'own');
    const raw = join(stage.folder, 'raw');
    const count = Math.floor((fileBytes / PAGE) * (percent / 100));
    const client = await stage.client('unix');
    try {
      await makeFile(own, fileBytes, signal);
      await makeFile(raw, fileBytes, signal);
      await client.create({ name: 'synced', file: own });
      const region = await client.attach('synced', { access: 'read-write' });
      const files = { own, raw, region, count, permille: percent * 10 };
      const told = await rounds(stage, (seed) => syncRound(stage, files, seed + 1));
      await stage.remove('synced');
      return rowsOf(told, { percent, count });
    } finally {
      for (const file of [own, raw]) rmSync(file, { force: true });
    }
  };
  const name = `sync-${percent}`;
  const unpinned = (stage: Stage) => stage.unpinned(() => run(stage));
  return { name, quick: percent === 1, files: 2, run: unpinned };
}

export const SYNC_WORKS: readonly Work[] = [workOf(1), workOf(10)];
