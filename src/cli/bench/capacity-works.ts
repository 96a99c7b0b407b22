/** More data than memory: what stays, and what it costs to make room. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../client/client.js';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { Budgeted } from './budgeted.js';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { figure, type Line, type Words } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const FILE_BYTES_MAX = 256 * 1024 * 1024;
/** The file is so many times the memory. */
const PART = 10;
const ACCESSES_PER_PAGE = 6;
const DEPTH = 16;
/** One page of each so many bytes is there: most are runs of their own. */
const WINDOW_BYTES = 16 * 1024;
const PLACEMENT = 'two cores, not pinned';

type Source =
  | { file: string; access: 'read-only'; kind?: 'staged' }
  | { size: number; fill: 'zero' };

/** Runs `body` with a file in the page cache and an appliance with a tenth of it as memory. */
async function withFile<T>(
  stage: Stage,
  body: (options: { file: string; size: number; small: Budgeted }) => Promise<T>,
): Promise<T> {
  const file = join(stage.folder, 'data');
  const size = Math.min(FILE_BYTES_MAX, stage.options.fileBytes);
  try {
    await makeFile(file, size, stage.signal);
    await using small = await Budgeted.start(stage, Math.floor(size / PART));
    return await body({ file, size, small });
  } finally {
    rmSync(file, { force: true });
  }
}

/** Runs `body` with a region that nobody has touched yet. */
async function fresh<T>(client: Client, source: Source, body: () => Promise<T>): Promise<T> {
  await client.create({ name: 'visited', ...source });
  try {
    return await body();
  } finally {
    await client.remove('visited', { dirty: 'discard' });
  }
}

/** Operations of the region that met their pages in memory, and all of them. */
async function hits(client: Client) {
  const region = await client.attach('visited', { access: 'read-only' });
  const { bypassed, faulted } = (await region.stat()).operations;
  await region.detach();
  return { bypassed, all: bypassed + faulted };
}

async function zipf(stage: Stage): Promise<Row[]> {
  const host = await stage.client('unix');
  return await withFile(stage, async ({ file, size, small }) => {
    const pages = size / PAGE;
    const accesses = pages * ACCESSES_PER_PAGE;
    const ratios: { farpage: number; raw: number }[] = [];
    const told = await rounds(stage, async (seed) => {
      const trace = { trace: 'zipf', accesses, seed };
      const words = { ...trace, 'region-size': size, sizes: PAGE, mode: 'polling' };
      // Both sides meet the same READs; the first quarter fills the memory.
      const warm = { ...words, to: accesses / 4 };
      const counted = { ...words, from: accesses / 4 };
      const raw = await fresh(host, { file, access: 'read-only' }, async () => {
        const region = await host.attach('visited', { access: 'read-only' });
        await region.prefetch({ wait: true, signal: stage.signal });
        await region.detach();
        const reach = await stage.reach('tcp', 'visited');
        await stage.run('initiator', { ...warm, ...reach });
        const [line] = await stage.run('initiator', { ...counted, ...reach });
        stage.forget('visited');
        return line;
      });
      const own = await fresh(small.client, { file, access: 'read-only' }, async () => {
        const reach = await small.reach('visited');
        await stage.run('initiator', { ...warm, ...reach });
        const before = await hits(small.client);
        const [line] = await stage.run('initiator', { ...counted, ...reach });
        const after = await hits(small.client);
        const [policy] = await stage.run('policy', { ...policyWords(trace), pages });
        const ratio = (after.bypassed - before.bypassed) / (after.all - before.all);
        ratios.push({ farpage: 100 * ratio, raw: 100 * figure(policy, 's3-fifo') });
        return line;
      });
      return { farpage: hitsPerSecond(own), raw: hitsPerSecond(raw) };
    });
    const what = `READ 4KiB of a file of ${PART} times the memory, Zipf 0.99, tcp, depth 1`;
    return [
      makeRow(
        {
          name: 'zipf',
          work: `${what}: hits, p50, beside everything in memory`,
          placement: PLACEMENT,
          unit: '/s',
          target: { of: 'ratio', least: 0.9 },
        },
        told,
      ),
      makeRow(
        {
          name: 'zipf',
          work: `${what}: hit ratio, beside S3-FIFO's of the same accesses`,
          placement: PLACEMENT,
          unit: '%',
          target: { of: 'ratio', least: 1 },
        },
        ratios,
      ),
    ];
  });
}

function policyWords(trace: { trace: string; accesses: number; seed: number }): Words {
  const { trace: traces, accesses, seed } = trace;
  return { traces, accesses, seed, parts: PART };
}

/** More than half of the READs are hits, so the median is one. */
function hitsPerSecond(line: Line | undefined): number {
  return 1e6 / figure(line, 'p50Us');
}

/** Where pages come from that are read once each. */
const SOURCES = [
  { what: 'a file, cold', from: { access: 'read-only' }, state: 'cold' },
  { what: 'a file in the page cache, staged', from: { access: 'read-only', kind: 'staged' } },
  { what: 'zeros', from: { fill: 'zero' } },
] as const;

/** First READs of half of a region's pages, in the memory that is enough and in a tenth of it. */
async function evicting(stage: Stage): Promise<Row[]> {
  const host = await stage.client('unix');
  return await withFile(stage, async ({ file, size, small }) => {
    const rows: Row[] = [];
    for (const { what, from, ...rest } of SOURCES) {
      const source: Source = 'fill' in from ? { size, ...from } : { file, ...from };
      const state = 'state' in rest ? rest.state : 'hot';
      const visits = { visit: size / PAGE / 2, 'region-size': size, depths: DEPTH, sizes: PAGE };
      const told = await rounds(stage, async (seed) => {
        const words = { ...visits, mode: 'adaptive', seed: seed + 1 };
        const side = async (client: Client, reach: () => Promise<Words>) => {
          if ('file' in source) await stage.run('cache', { file, state });
          return await fresh(client, source, async () => {
            const [line] = await stage.run('initiator', { ...words, ...(await reach()) });
            return figure(line, 'opsPerSecond');
          });
        };
        const raw = await side(host, () => stage.reach('tcp', 'visited'));
        stage.forget('visited');
        return { raw, farpage: await side(small.client, () => small.reach('visited')) };
      });
      const work = `first READs 4KiB of ${what}, ${PART} times the memory, tcp, depth ${DEPTH}`;
      const target = { of: 'ratio', least: 0.85 } as const;
      const head = { name: 'evicting', work: `${work}, beside memory enough`, target };
      rows.push(makeRow({ ...head, placement: PLACEMENT, unit: '/s' }, told));
    }
    return rows;
  });
}

/** Scattered pages of plain memory, given back in one batch. */
async function reclaim(stage: Stage): Promise<Row[]> {
  const host = await stage.client('unix');
  const pages = Math.floor(stage.options.fileBytes / PAGE);
  const size = pages * WINDOW_BYTES;
  const shootdowns: { farpage: number }[] = [];
  const told = await rounds(stage, async () => {
    const [raw] = await stage.run('punch', { pages, window: WINDOW_BYTES });
    return await fresh(host, { size, fill: 'zero' }, async () => {
      const visits = { visit: pages, window: WINDOW_BYTES, 'region-size': size, sizes: PAGE };
      const words = { ...visits, depths: DEPTH, mode: 'adaptive' };
      await stage.run('initiator', { ...words, ...(await stage.reach('tcp', 'visited')) });
      stage.forget('visited');
      const { address } = findAppliance(stage.serving.url);
      const control = new ControlClient({ address, token: undefined });
      const call = { params: { region: 'visited' }, body: { dirty: 'keep' } } as const;
      const reply = await control.call('reclaim', { ...call, signal: stage.signal });
      control.close();
      const each = (milliseconds: number) => (milliseconds * 1000) / reply.pagesReclaimed;
      shootdowns.push({ farpage: each(reply.shootdownMs) });
      return { farpage: each(reply.elapsedMs), raw: figure(raw, 'meanUs') };
    });
  });
  const work = `reclaim of ${pages} scattered pages, for each`;
  const head = { name: 'reclaim', placement: PLACEMENT, unit: 'us' } as const;
  return [
    makeRow(
      { ...head, work: `${work}, beside bare hole punching`, target: { of: 'ratio', most: 1.1 } },
      told,
    ),
    makeRow(
      { ...head, work: `${work}: shootdown`, target: { of: 'figure', most: 0.15 } },
      shootdowns,
    ),
  ];
}

export const CAPACITY_WORKS: readonly Work[] = [
  { name: 'zipf', quick: false, files: 1, run: (stage) => stage.unpinned(() => zipf(stage)) },
  {
    name: 'evicting',
    quick: false,
    files: 1,
    run: (stage) => stage.unpinned(() => evicting(stage)),
  },
  { name: 'reclaim', quick: false, files: 0, run: (stage) => stage.unpinned(() => reclaim(stage)) },
];
