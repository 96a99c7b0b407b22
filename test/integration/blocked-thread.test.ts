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

it('serves present and absent pages while its JavaScript thread is blocked', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const expected = patternOf(LENGTH);
  const program = fileURLToPath(new URL('../fixtures/blocking-appliance.mjs', import.meta.url));
  const child = fork(program, [folder, file]);
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  await once(child, 'message');
  const client = await connectClient(`farpage+unix:${join(folder, 's')}`);
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
