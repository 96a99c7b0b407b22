/** READs of present pages while the appliance works for somebody else. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFile } from './files.js';
import { formatFigure } from './render.js';
import { makeRow, type Row, type Unit } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { dirty } from './sync-works.js';
import { figure, type Line } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const WHILE = { 'duration-ms': 150, 'warm-up-ms': 10 };
const PLACEMENT = 'two cores, not pinned';
const SYNC_TIMEOUT_MS = 120_000;

/** READs of 64 B over TCP, as a client waits by default. */
async function readsOf(stage: Stage): Promise<Line | undefined> {
  const reach = await stage.reach('tcp', 'bench');
  const words = { ...reach, ...WHILE, mode: 'adaptive', pattern: 'check' };
  return (await stage.run('initiator', words))[0];
}

interface Beside {
  readonly name: string;
  readonly work: string;
  /** What a raw program does instead; the first is what it is set beside. */
  readonly ways: readonly [string, ...string[]];
  readonly rawWork: string;
  /** Makes ready, and hands back what begins it. */
  prepare(stage: Stage, options: { file: string; number: number }): Promise<() => Promise<unknown>>;
}

const SYNC: Beside = {
  name: 'beside-sync',
  work: 'READ 64B tcp, p99, while a sync of 10 % of a file runs, beside its idle p99',
  ways: ['uring', 'direct', 'pwrite'],
  rawWork: 'the same, beside a raw ping-pong while io_uring writes such pages',
  async prepare(stage, { file }) {
    const client = await stage.client('unix');
    await client.create({ name: 'beside', file });
    const region = await client.attach('beside', { access: 'read-write' });
    await dirty(region, Math.floor(region.size / PAGE / 10));
    return () => region.sync({ timeoutMs: SYNC_TIMEOUT_MS });
  },
};

const COLD: Beside = {
  name: 'beside-cold',
  work: 'READ 64B tcp, p99, while 16 cold pages at a time come in, beside its idle p99',
  ways: ['pread'],
  rawWork: 'the same, beside a raw ping-pong while 16 threads of pread read such pages',
  async prepare(stage, { file, number }) {
    await stage.run('cache', { file, state: 'cold' });
    const client = await stage.client('unix');
    const { size } = await client.create({ name: 'beside', file, access: 'read-only' });
    const reach = await stage.reach('unix', 'beside');
    const pages = { visit: size / PAGE / 4, 'region-size': size, sizes: PAGE, seed: number };
    return () => stage.run('initiator', { ...reach, ...pages, depths: 16, mode: 'sleeping' });
  },
};

/** A round: the READs alone and beside the work, how long that took, and the raw programs. */
interface Told {
  readonly idle: Line | undefined;
  readonly busy: Line | undefined;
  readonly workMs: number;
  /** The work was over before the READs. */
  readonly over: boolean;
  readonly raw: Readonly<Record<string, Line | undefined>>;
}

async function roundOf(beside: Beside, stage: Stage, file: string, number: number): Promise<Told> {
  const raw: Record<string, Line | undefined> = {};
  for (const work of beside.ways) {
    const words = { file, size: stage.options.fileBytes, work, seed: number + 1, ...WHILE };
    raw[work] = (await stage.run('beside', words))[0];
  }
  const idle = await readsOf(stage);
  let over = false;
  const begin = await beside.prepare(stage, { file, number });
  const began = performance.now();
  let workMs = Number.NaN;
  const work = begin().finally(() => {
    over = true;
    workMs = performance.now() - began;
  });
  let told: Omit<Told, 'workMs'>;
  try {
    const busy = await readsOf(stage);
    told = { idle, busy, over, raw };
  } finally {
    await work;
    await stage.remove('beside');
  }
  return { ...told, workMs };
}

/** What the rounds tell in words, which the medians of p99 do not. */
function notesOf({ ways }: Beside, told: readonly Told[]): { own: string; raw: string } {
  const middle = (unit: Unit, of: (round: Told) => number) =>
    formatFigure(median(told.map(of)), unit);
  const rate = (of: (round: Told) => Line | undefined) =>
    middle('/s', (round) => figure(of(round), 'opsPerSecond'));
  const own = [
    `READs ${rate(({ busy }) => busy)}, alone ${rate(({ idle }) => idle)}`,
    `the work took ${middle('ms', ({ workMs }) => workMs)}`,
  ];
  const short = told.filter(({ over }) => over).length;
  if (short > 0) own.push(`over before the READs in ${short} rounds`);
  const raw = ways.map((way) => {
    const us = (name: string) => middle('us', (round) => figure(round.raw[way], name));
    const reads = rate((round) => round.raw[way]);
    const over = told.some((round) => round.raw[way]?.over === true) ? ', over before' : '';
    return `${way} ${us('p99Us')}, ${reads}, alone ${us('idleP99Us')}${over}`;
  });
  return { own: own.join('; '), raw: raw.join('; ') };
}

function rowsOf(beside: Beside, told: readonly Told[]): Row[] {
  const { name, work, rawWork, ways } = beside;
  const notes = notesOf(beside, told);
  const head = { name, placement: PLACEMENT, unit: 'us' } as const;
  const target = { of: 'ratio', most: 5 } as const;
  const p99 = (line: Line | undefined) => figure(line, 'p99Us');
  return [
    makeRow(
      { ...head, work, target, note: notes.own },
      told.map(({ idle, busy }) => ({ farpage: p99(busy), raw: p99(idle) })),
    ),
    makeRow(
      { ...head, work: rawWork, note: notes.raw },
      told.map(({ busy, raw }) => ({ farpage: p99(busy), raw: p99(raw[ways[0]]) })),
    ),
  ];
}

function workOf(beside: Beside): Work {
  const run = async (stage: Stage): Promise<Row[]> => {
    const file = join(stage.folder, 'beside');
    try {
      await makeFile(file, stage.options.fileBytes, stage.signal);
      return rowsOf(beside, await rounds(stage, (number) => roundOf(beside, stage, file, number)));
    } finally {
      rmSync(file, { force: true });
    }
  };
  const unpinned = (stage: Stage) => stage.unpinned(() => run(stage));
  return { name: beside.name, quick: false, files: 1, run: unpinned };
}

export const BESIDE_WORKS: readonly Work[] = [SYNC, COLD].map(workOf);
