import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { parseUrl } from '../../src/control/address.js';
import { ControlClient } from '../../src/control/http-client.js';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const BLOCKED_MS = 3000;
/** How long present pages must go on at their usual rate. */
const LONG_MS = 5000;
const MEASURED_MS = 3000;
const SLICE_MS = 50;
/** The rate with the thread blocked, as a share of that without; what is left is noise. */
const USUAL = 0.75;
/** Other processes have the machine now and then, but not each time. */
const TRIES_MAX = 3;
const PRESENT_PAGES = 64;
const PAGES = 16_384;
const LENGTH = PAGES * 4096;
const ROUNDS = 1500;
/** Odd, so that no page comes twice, and far, so that read-ahead does not get there first. */
const STEP = 7919;

/** The fixture's appliance, and a client of it. */
async function serveAndConnect() {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const program = fileURLToPath(new URL('../fixtures/blocking-appliance.mjs', import.meta.url));
  const child = fork(program, [folder, file]);
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  await once(child, 'message');
  const url = `farpage+unix:${join(folder, 's')}`;
  return { child, url, client: await connectClient(url) };
}

/** Operations on `r`, over a connection of its own: one that idles too long is closed. */
async function operationsAt(url: string): Promise<RegionStat['operations']> {
  using control = new ControlClient({ address: parseUrl(url).address });
  return (await control.call('stat', { params: { region: 'r' } })).operations;
}

it('delays only the operations that need a callback while it is blocked', async () => {
  const { child, url, client } = await serveAndConnect();
  const supplied = await client.attach('c');
  const file = await client.attach('r');
  expect((await supplied.read(3 * 4096, 1))[0]).toBe(4);
  // An own connection for what waits, so that nothing stands behind it.
  const waiting = await (await connectClient(url)).attach('c');
  child.send({ block: BLOCKED_MS });
  await once(child, 'message');
  const began = performance.now();
  const late = waiting.read(7 * 4096, 1).then(([byte]) => [byte, performance.now() - began]);
  const expected = patternOf(LENGTH);
  for (let n = 1; n < 200; n += 1) {
    const at = ((n * STEP) % PAGES) * 4096;
    expect((await supplied.read(3 * 4096, 1))[0]).toBe(4);
    expect((await file.read(at, 1))[0]).toBe(expected[at]);
  }
  expect(performance.now() - began).toBeLessThan(BLOCKED_MS - 500);
  const [byte, took] = await late;
  expect(byte).toBe(8);
  expect(took).toBeGreaterThan(BLOCKED_MS - 500);
});

it('serves present and absent pages while its JavaScript thread is blocked', async () => {
  const expected = patternOf(LENGTH);
  const { child, client, url } = await serveAndConnect();
  const region = await client.attach('r');
  // Each round reads a page that nobody has yet, and reads and writes pages that are present.
  const round = async (page: number) => {
    const [bytes] = await Promise.all([
      region.read(page * 4096, 4096),
      region.read(0, 4096),
      region.write(4096, expected.subarray(4096, 8192)),
    ]);
    const same = Buffer.compare(bytes, expected.subarray(page * 4096, (page + 1) * 4096));
    expect(same).toBe(0);
  };
  const roundsPerMs = async (from: number) => {
    const began = performance.now();
    for (let at = from; at < from + ROUNDS; at += 1) await round((at * STEP) % PAGES);
    return ROUNDS / (performance.now() - began);
  };
  await roundsPerMs(0);
  const free = await roundsPerMs(ROUNDS);
  const { faulted } = await operationsAt(url);
  child.send({ block: BLOCKED_MS });
  await once(child, 'message');
  const began = performance.now();
  const control = operationsAt(url).then(() => performance.now() - began);
  const blocked = await roundsPerMs(2 * ROUNDS);
  expect(performance.now() - began).toBeLessThan(BLOCKED_MS - 500);
  expect(blocked).toBeGreaterThan(free / 2);
  expect(await control).toBeGreaterThan(BLOCKED_MS - 500);
  expect((await operationsAt(url)).faulted - faulted).toBeGreaterThan(ROUNDS / 2);
});

/** READs and WRITEs of present pages a millisecond, for one slice of time. */
async function presentRate(region: ExternalRegion): Promise<number> {
  const bytes = Buffer.alloc(4096, 7);
  const began = performance.now();
  let done = 0;
  while (performance.now() - began < SLICE_MS) {
    const works = Array.from({ length: PRESENT_PAGES }, (_, page) =>
      page % 2 === 0 ? region.read(page * 4096, 4096) : region.write(page * 4096, bytes),
    );
    await Promise.all(works);
    done += PRESENT_PAGES;
  }
  return done / (performance.now() - began);
}

/** The rate of one as a share of the other's, slice by slice in turn: noise meets both alike. */
async function shareOf(region: ExternalRegion, other: ExternalRegion): Promise<number> {
  let [rate, others] = [0, 0];
  for (const end = performance.now() + MEASURED_MS; performance.now() < end; ) {
    rate += await presentRate(region);
    others += await presentRate(other);
  }
  return rate / others;
}

it('serves present pages at their usual rate, and its control plane waits', {
  timeout: 90_000,
}, async () => {
  const { child, client, url } = await serveAndConnect();
  const region = await client.attach('r');
  // One like it that nobody blocks, at the same time: what else the machine does is no difference.
  const other = await (await serveAndConnect()).client.attach('r');
  await shareOf(region, other);
  const { faulted } = await operationsAt(url);
  let share = 0;
  for (let tries = 0; share < USUAL && tries < TRIES_MAX; tries += 1) {
    child.send({ block: LONG_MS });
    await once(child, 'message');
    let answered = false;
    const control = operationsAt(url).then(() => {
      answered = true;
    });
    const blocked = await shareOf(region, other);
    // Not where this process was held up until the other one was free again.
    if (!answered) share = blocked;
    await control;
  }
  expect(share).toBeGreaterThan(USUAL);
  expect((await operationsAt(url)).faulted).toBe(faulted);
});
