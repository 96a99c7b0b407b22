/** How long until the first byte: of a region, and of a process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../client/client.js';
import { formatSize } from '../../units.js';
import { Serving } from '../serving.js';
import { makeSparse } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { rounds, type Work } from './work.js';

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;
const PLACEMENT = 'two cores, not pinned';

/** `create`, attach and the first READ of a file, over the Unix socket. */
async function create(stage: Stage): Promise<Row[]> {
  const client = await stage.client('unix');
  const rows: Row[] = [];
  for (const size of [MIB, TIB]) {
    const file = join(stage.folder, `sparse-${size}`);
    await makeSparse(file, size);
    const told = await rounds(stage, async () => {
      const began = performance.now();
      const region = await client.allocate({ name: 'first', file });
      await region.read(size / 2, 1);
      const farpage = performance.now() - began;
      await client.remove('first');
      return { farpage };
    });
    rmSync(file);
    const work = `file of ${formatSize(size)}: create to first byte, unix`;
    const target = { of: 'figure', most: 3 } as const;
    rows.push(makeRow({ name: 'create', work, placement: PLACEMENT, unit: 'ms', target }, told));
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

export const START_WORKS: readonly Work[] = [
  { name: 'create', quick: true, files: 0, run: create },
  { name: 'start', quick: true, files: 0, run: start },
];
