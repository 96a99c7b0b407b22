import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { connectClient } from '../helpers/appliance.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const BLOCKED_MS = 3000;
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
  const { child, client } = await serveAndConnect();
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
  const { faulted } = (await region.stat()).operations;
  child.send({ block: BLOCKED_MS });
  await once(child, 'message');
  const began = performance.now();
  const control = region.stat().then(() => performance.now() - began);
  const blocked = await roundsPerMs(2 * ROUNDS);
  expect(performance.now() - began).toBeLessThan(BLOCKED_MS - 500);
  expect(blocked).toBeGreaterThan(free / 2);
  expect(await control).toBeGreaterThan(BLOCKED_MS - 500);
  const stat = await region.stat();
  expect(stat.operations.faulted - faulted).toBeGreaterThan(ROUNDS / 2);
});
