/** READs of present pages while the appliance works for somebody else. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { dirty } from './sync-works.js';
import { figure } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const READ_MS = 150;
const PLACEMENT = 'two cores, not pinned';
const SYNC_TIMEOUT_MS = 120_000;

/** p99 of READs of 64 B over TCP, as a client waits by default. */
async function p99Us(stage: Stage): Promise<number> {
  const reach = await stage.reach('tcp', 'bench');
  const words = { ...reach, mode: 'adaptive', 'duration-ms': READ_MS, 'warm-up-ms': 10 };
  return figure((await stage.run('initiator', { ...words, pattern: 'check' }))[0], 'p99Us');
}

interface Beside {
  readonly name: string;
  readonly work: string;
  /** Makes ready, and hands back what begins it. */
  prepare(stage: Stage, options: { file: string; number: number }): Promise<() => Promise<unknown>>;
}

const SYNC: Beside = {
  name: 'beside-sync',
  work: 'READ 64B tcp, p99, while a sync of 10 % of a file runs, beside its idle p99',
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
  async prepare(stage, { file, number }) {
    await stage.run('cache', { file, state: 'cold' });
    const client = await stage.client('unix');
    const { size } = await client.create({ name: 'beside', file, access: 'read-only' });
    const reach = await stage.reach('unix', 'beside');
    const pages = { visit: size / PAGE / 4, 'region-size': size, sizes: PAGE, seed: number };
    return () => stage.run('initiator', { ...reach, ...pages, depths: 16, mode: 'sleeping' });
  },
};

function workOf(beside: Beside): Work {
  const { name, work } = beside;
  const run = async (stage: Stage): Promise<Row[]> => {
    const file = join(stage.folder, 'beside');
    let short = 0;
    try {
      await makeFile(file, stage.options.fileBytes, stage.signal);
      const told = await rounds(stage, async (number) => {
        const raw = await p99Us(stage);
        let over = false;
        const begin = await beside.prepare(stage, { file, number });
        const busy = begin().finally(() => {
          over = true;
        });
        try {
          const farpage = await p99Us(stage);
          if (over) short++;
          return { farpage, raw };
        } finally {
          await busy;
          await stage.remove('beside');
        }
      });
      const note = short > 0 ? `over before the READs in ${short} rounds` : undefined;
      const target = { of: 'ratio', most: 5 } as const;
      return [makeRow({ name, work, placement: PLACEMENT, unit: 'us', target, note }, told)];
    } finally {
      rmSync(file, { force: true });
    }
  };
  return { name, quick: false, files: 1, run: (stage) => stage.unpinned(() => run(stage)) };
}

export const BESIDE_WORKS: readonly Work[] = [SYNC, COLD].map(workOf);
