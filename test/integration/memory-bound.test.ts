import { describe, expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import type { TierList } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { memoryFolder } from '../helpers/crash.js';
import { processMemory } from '../helpers/process-memory.js';
import { scratch } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const MEMORY = 32 * MIB;
const DENSE = 96 * MIB;
/** A page in each 2 MiB: page, page table and half a page of words each. */
const SCATTERED = 8_000;
/** Of Node and of our threads; a bound against leaks, not a figure to be proud of. */
const OWN_MAX = 160 * MIB;

type Touch = (region: ExternalRegion, offset: number) => Promise<unknown>;
const read: Touch = (region, offset) => region.read(offset, 64);
const write: Touch = (region, offset) => region.write(offset, Buffer.alloc(64, 7));

/** Touches offsets, 64 at a time, and calls `look` now and then. */
async function load(options: {
  region: ExternalRegion;
  touch: Touch;
  offsets: readonly number[];
  look: () => void;
}): Promise<void> {
  const { region, touch, offsets, look } = options;
  for (let at = 0; at < offsets.length; at += 64) {
    await Promise.all(offsets.slice(at, at + 64).map((offset) => touch(region, offset)));
    if (at % 512 === 0) look();
  }
}

const dense = Array.from({ length: DENSE / 4096 }, (_, n) => n * 4096);
const scattered = Array.from({ length: SCATTERED }, (_, n) => n * 2 * MIB);

describe('the memory of pages and of their tables', () => {
  it.each([
    ['read, dense', read, dense, false],
    ['read, scattered', read, scattered, false],
    ['written, dense', write, dense, true],
    ['written, scattered', write, scattered.slice(0, 4000), true],
    ['read, dense, in a memory directory', read, dense, false],
    ['read, scattered, in a memory directory', read, scattered, false],
  ] as const)('stays within 2 %% of --memory: %s', async (name, touch, offsets, spills) => {
    const folder = scratch();
    const tiers = spills ? ['--tier', `file:${folder}/spill:1GiB`] : [];
    const outlives = name.endsWith('directory') ? ['--memory-dir', memoryFolder()] : [];
    const words = ['--memory', `${MEMORY}`, ...tiers, ...outlives];
    const serve = await ServeProcess.start(folder, words);
    const client = await connectClient(serve.ready.control);
    const region = await client.allocate({ name: 'r', size: '1TiB', fill: 'one' });
    await touch(region, 2 ** 39);
    const { pid } = serve.ready;
    const before = processMemory(pid);
    let samples = 0;
    let most = 0;
    let own = 0;
    const look = () => {
      const now = processMemory(pid);
      samples += 1;
      most = Math.max(most, now.pageBytes + now.tableBytes - before.tableBytes);
      own = Math.max(own, now.ownBytes);
    };
    await load({ region, touch, offsets, look });
    expect(samples).toBeGreaterThan(5);
    expect(most / MEMORY).toBeLessThan(1.02);
    // Full load it was, and what is told of it is true.
    expect(most / MEMORY).toBeGreaterThan(0.85);
    expect(own).toBeLessThan(OWN_MAX);
    const { memory } = await serve.json<TierList>(['tiers']);
    const truth = processMemory(pid);
    const told = memory.pageBytes + memory.tableBytes;
    const real = truth.pageBytes + truth.tableBytes - before.tableBytes;
    expect(Math.abs(told - real) / MEMORY).toBeLessThan(0.03);
    expect(memory.ownBytes).toBeGreaterThan(truth.ownBytes / 2);
    expect(memory.ownBytes).toBeLessThan(truth.ownBytes * 2);
    // Nothing of it stays for as long as JavaScript does not collect.
    await serve.json(['rm', 'r', '--discard']);
    expect(processMemory(pid).pageBytes).toBe(0);
  });
});
