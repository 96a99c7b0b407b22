/** What an appliance costs that has nothing to do but to tell. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { formatFigure } from './render.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { rounds, type Work } from './work.js';

const TIB = 1024 ** 4;
const IDLE_MS = 1000;
const REGIONS = 8;
/** Syncs of one round, whose median counts: the first compile what they run. */
const SYNCS = 20;
/** Pages of the region that are present, one in each so many bytes; cells of a large terminal. */
const TOP_PAGES = 16_384;
const TOP_CELLS = 158 * 4;
const REFRESHES = 20;
/** Half a percent of a core, refreshed every two seconds. */
const TOP_CPU_US = 10_000;
const PLACEMENT = 'two cores, not pinned';

/** CPU time of all threads of a process so far, in nanoseconds (/proc/PID/task/TID/schedstat). */
function cpuNs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const times = tasks.map((task) => {
    const text = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8');
    return Number(text.split(' ')[0]);
  });
  return times.reduce((sum, time) => sum + time, 0);
}

/** Memory of a process and of its page tables, in bytes. */
function memoryBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kibibytes = ['VmRSS', 'VmPTE'].map((name) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]),
  );
  return kibibytes.reduce((sum, count) => sum + count * 1024, 0);
}

async function idle(stage: Stage): Promise<Row[]> {
  const { pid } = stage.serving;
  await setTimeout(IDLE_MS, undefined, { signal: stage.signal }); // After whatever ran before.
  const told = await rounds(stage, async () => {
    const before = cpuNs(pid);
    const began = performance.now();
    await setTimeout(IDLE_MS, undefined, { signal: stage.signal });
    const elapsedNs = (performance.now() - began) * 1e6;
    return { farpage: ((cpuNs(pid) - before) / elapsedNs) * 100 };
  });
  const work = 'idle appliance with a session, of one core';
  const target = { of: 'figure', most: 0.5 } as const;
  return [makeRow({ name: 'idle', work, placement: PLACEMENT, unit: '%', target }, told)];
}

async function memory(stage: Stage): Promise<Row[]> {
  const { pid } = stage.serving;
  const client = await stage.client('unix');
  const told = await rounds(stage, async (number) => {
    const names = Array.from({ length: REGIONS }, (_, index) => `untouched-${number}-${index}`);
    const before = memoryBytes(pid);
    for (const name of names) await client.create({ name, size: TIB, fill: 'zero' });
    const farpage = Math.max(memoryBytes(pid) - before, 0) / REGIONS;
    for (const name of names) await client.remove(name);
    return { farpage };
  });
  const work = 'memory of an untouched region of 1 TiB (mean of 8)';
  const target = { of: 'figure', most: 1024 ** 2 } as const;
  return [makeRow({ name: 'memory', work, placement: PLACEMENT, unit: 'B', target }, told)];
}

async function nothingDirty(stage: Stage): Promise<Row[]> {
  const client = await stage.client('unix');
  await using region = await client.allocate({ size: TIB, fill: 'zero' });
  await region.read(TIB / 2, 1);
  const told = await rounds(stage, async () => {
    const taken: number[] = [];
    for (let count = 0; count < SYNCS; count++) {
      const began = performance.now();
      await region.sync();
      taken.push(performance.now() - began);
    }
    return { farpage: median(taken) };
  });
  const work = 'sync of nothing dirty, region of 1 TiB';
  const target = { of: 'figure', most: 1 } as const;
  return [makeRow({ name: 'sync-0', work, placement: PLACEMENT, unit: 'ms', target }, told)];
}

/**
 * What `farpage top` makes the appliance do each time it draws: it reads all figures, and the page
 * map of the region that is selected.
 */
async function top(stage: Stage): Promise<Row[]> {
  const { pid } = stage.serving;
  const { address } = findAppliance(stage.serving.url);
  const control = new ControlClient({ address, token: undefined });
  const client = await stage.client('unix');
  const { signal } = stage;
  await client.create({ name: 'watched', size: TIB, fill: 'zero' }, { signal });
  const refresh = async () => {
    await Promise.all([control.call('regions', { signal }), control.call('tiers', { signal })]);
    const query = { cells: String(TOP_CELLS) };
    await control.call('pages', { params: { region: 'watched' }, query, signal });
  };
  const measure = async (what: string, note: string): Promise<Row> => {
    for (let count = 0; count < REFRESHES; count++) await refresh(); // What runs first is compiled.
    const elapsedMs: number[] = [];
    const told = await rounds(stage, async () => {
      const before = cpuNs(pid);
      const began = performance.now();
      for (let count = 0; count < REFRESHES; count++) await refresh();
      elapsedMs.push((performance.now() - began) / REFRESHES);
      return { farpage: (cpuNs(pid) - before) / 1000 / REFRESHES };
    });
    const work = `CPU time of the appliance for each refresh of top, region of 1 TiB, ${what}`;
    const waited = `${note}${formatFigure(median(elapsedMs), 'ms')} until it is there`;
    const target = { of: 'figure', most: TOP_CPU_US } as const;
    const head = { name: 'top', work, placement: PLACEMENT, unit: 'us', target } as const;
    return makeRow({ ...head, note: waited }, told);
  };
  try {
    const untouched = await measure('untouched', '');
    const reads = { visit: TOP_PAGES, window: TIB / TOP_PAGES, 'region-size': TIB, sizes: 4096 };
    const words = { ...reads, depths: 16, mode: 'adaptive', seed: 1 };
    await stage.run('initiator', { ...words, ...(await stage.reach('tcp', 'watched')) });
    const region = await client.attach('watched');
    const { present } = (await region.stat()).pages;
    await region.detach();
    return [untouched, await measure('scattered pages', `${present} pages; `)];
  } finally {
    await stage.remove('watched');
  }
}

export const REST_WORKS: readonly Work[] = [
  { name: 'idle', quick: true, files: 0, run: idle },
  { name: 'memory', quick: true, files: 0, run: memory },
  { name: 'top', quick: false, files: 0, run: (stage) => stage.unpinned(() => top(stage)) },
  { name: 'sync-0', quick: true, files: 0, run: nothingDirty },
];
