/** How long until the first byte: of a region, and of a process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../client/client.js';
import { formatSize } from '../../units.js';
import { Serving } from '../serving.js';
import { makeSparse } from './files.js';
import { makeRow, type Row, skippedRow } from './row.js';
import type { Stage } from './stage.js';
import { rounds, type Work } from './work.js';

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;
const DIRTY_BYTES = 1024 * MIB;
const REGIONS = 1000;
const PLACEMENT = 'two cores, not pinned';

/** A region of `file` and its first byte, over the Unix socket, in milliseconds. */
async function firstByteMs(stage: Stage, file: string, name: string | undefined): Promise<number> {
  // A client of its own: an unnamed region, and its claim on the file, end with it.
  await using client = await connect(stage.serving.url, { signal: stage.signal });
  const began = performance.now();
  const region = await client.allocate({ file, ...(name !== undefined && { name }) });
  await region.read(region.size / 2, 1);
  const elapsed = performance.now() - began;
  if (name !== undefined) await client.remove(name);
  return elapsed;
}

async function create(stage: Stage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of [MIB, TIB]) {
    const file = join(stage.folder, `sparse-${size}`);
    await makeSparse(file, size);
    for (const name of [undefined, 'first']) {
      await firstByteMs(stage, file, name); // The appliance's first time compiles what it runs.
      const told = await rounds(stage, async () => ({
        farpage: await firstByteMs(stage, file, name),
      }));
      const kept = name === undefined ? 'unnamed' : 'kept over restarts (two fsyncs)';
      const work = `file of ${formatSize(size)}: create to first byte, unix, ${kept}`;
      const target = { of: 'figure', most: 3 } as const;
      rows.push(makeRow({ name: 'create', work, placement: PLACEMENT, unit: 'ms', target }, told));
    }
    rmSync(file);
  }
  return rows;
}

async function emptyNode(): Promise<number> {
  const began = performance.now();
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
  return performance.now() - began;
}

/** `farpage serve FILE` as a process, to the first byte in a client that was there before. */
async function start(stage: Stage): Promise<Row[]> {
  const file = join(stage.folder, 'started');
  await makeSparse(file, TIB);
  const socket = join(stage.folder, 'second');
  const words = ['--socket', socket, '--state', `${socket}-state`, `started=${file}`];
  const told = await rounds(stage, async () => {
    const raw = await emptyNode();
    const began = performance.now();
    await using serving = await Serving.start(words);
    await using client = await connect(serving.url, { signal: stage.signal });
    await (await client.attach('started')).read(0, 1);
    return { farpage: performance.now() - began, raw };
  });
  rmSync(file);
  const work = 'process start to first byte, file of 1 TiB, beside node -e 0';
  const target = { of: 'difference', most: 150 } as const;
  return [makeRow({ name: 'start', work, placement: PLACEMENT, unit: 'ms', target }, told)];
}

/** A region of 1 TiB, of which the memory directory has 1 GiB that nobody synced. */
async function writeMuch(words: readonly string[], signal: AbortSignal): Promise<void> {
  await using serving = await Serving.start(words);
  await using client = await connect(serving.url, { signal });
  const region = await client.allocate({ name: 'restarted', size: TIB });
  const bytes = Buffer.alloc(MIB, 1);
  for (let offset = 0; offset < DIRTY_BYTES; offset += MIB) await region.write(offset, bytes);
  await region.fence();
  await serving.kill();
}

/** The same after `kill -9`, with memory and page table found again. */
async function restart(stage: Stage): Promise<Row[]> {
  const work = 'kill -9, then process start to first byte, 1 TiB with 1 GiB dirty in memory';
  const head = { name: 'restart', work, placement: PLACEMENT } as const;
  const { bavail, bsize } = statfsSync('/dev/shm');
  if (bavail * bsize < 2 * DIRTY_BYTES) return [skippedRow(head, '/dev/shm has too little room')];
  const memory = mkdtempSync('/dev/shm/farpage-bench-');
  try {
    const socket = join(stage.folder, 'third');
    const words = ['--socket', socket, '--state', `${socket}-state`, '--memory-dir', memory];
    await writeMuch(words, stage.signal);
    const told = await rounds(stage, async () => {
      const began = performance.now();
      await using serving = await Serving.start(words);
      await using client = await connect(serving.url, { signal: stage.signal });
      await (await client.attach('restarted')).read(0, 1);
      const elapsed = performance.now() - began;
      await serving.kill();
      return { farpage: elapsed };
    });
    return [makeRow({ ...head, unit: 'ms', target: { of: 'figure', most: 200 } }, told)];
  } finally {
    rmSync(memory, { recursive: true, force: true });
  }
}

/** A region of 1 TiB without a file, to its grant: nothing is allocated by that. */
async function allocate(stage: Stage): Promise<Row[]> {
  await using client = await connect(stage.serving.url, { signal: stage.signal });
  const told = await rounds(stage, async () => {
    const began = performance.now();
    const region = await client.allocate({ size: TIB });
    const farpage = performance.now() - began;
    await client.remove(region.name);
    return { farpage };
  });
  const work = 'allocate 1 TiB, unix';
  const target = { of: 'figure', most: 2 } as const;
  return [makeRow({ name: 'allocate', work, placement: PLACEMENT, unit: 'ms', target }, told)];
}

/** Makes the regions of a state directory and touches each once. */
async function touched(words: readonly string[], signal: AbortSignal): Promise<void> {
  await using serving = await Serving.start(words);
  await using client = await connect(serving.url, { signal });
  for (let at = 0; at < REGIONS; at += 1) {
    await client.create({ name: `r${at}`, size: TIB });
    await (await client.attach(`r${at}`)).write(0, Buffer.from('x'));
  }
}

/** An appliance with many large regions: when any of them is served, and when all have been. */
async function restartMany(stage: Stage): Promise<Row[]> {
  const socket = join(stage.folder, 'many');
  const words = ['--socket', socket, '--state', `${socket}-state`];
  await touched(words, stage.signal);
  const told = await rounds(stage, async () => {
    const raw = await emptyNode();
    const began = performance.now();
    await using serving = await Serving.start(words);
    await using client = await connect(serving.url, { signal: stage.signal });
    await (await client.attach(`r${REGIONS - 1}`)).read(0, 1);
    const any = performance.now() - began;
    const names = Array.from({ length: REGIONS }, (_, at) => `r${at}`);
    const regions = await Promise.all(names.map((name) => client.attach(name)));
    await Promise.all(regions.map((region) => region.read(0, 1)));
    return { any: { farpage: any, raw }, all: { farpage: performance.now() - began, raw } };
  });
  rmSync(`${socket}-state`, { recursive: true });
  const head = { name: 'restart-many', placement: PLACEMENT, unit: 'ms' } as const;
  const work = `restart with ${REGIONS} regions of 1 TiB, each touched once`;
  const any = `${work}: until any is served, beside node -e 0`;
  const all = `${work}: until a client has attached and read all`;
  const target = { of: 'difference', most: 100 } as const;
  return [
    makeRow(
      { ...head, work: any, target },
      told.map((round) => round.any),
    ),
    makeRow(
      { ...head, work: all },
      told.map((round) => round.all),
    ),
  ];
}

export const START_WORKS: readonly Work[] = [
  { name: 'create', quick: true, files: 0, run: create },
  { name: 'start', quick: true, files: 0, run: start },
  { name: 'allocate', quick: true, files: 0, run: allocate },
  { name: 'restart', quick: false, files: 0, run: restart },
  { name: 'restart-many', quick: false, files: 0, run: restartMany },
];
