/** Sources whose bytes come slowly: what nobody waits for takes as long as it takes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';

const SIZE = 4 * 2 ** 20;
const STEPS = 25;
const STEP_MS = 100;

/** A region each of whose requests takes 2.5 s of a deadline of 1 s. */
async function serveSlowly({ tells }: { tells: boolean }) {
  const { appliance, url } = await serveAppliance();
  const source = {
    fill: async (_: unknown, into: Uint8Array, __: AbortSignal, alive: () => void) => {
      for (let step = 0; step < STEPS; step += 1) {
        await sleep(STEP_MS);
        if (tells) alive();
      }
      into.fill(7);
    },
    timeoutMs: 1000,
  };
  await appliance.create({ name: 'c', size: SIZE, source });
  return await (await connectClient(url)).attach('c');
}

it('a prefetch goes on as long as bytes come, and a read keeps its deadline', async () => {
  const region = await serveSlowly({ tells: true });
  const read = codeOf(() => region.read(SIZE - 1, 1));
  const prefetch = await region.prefetch({ length: SIZE / 2, wait: true, timeoutMs: 60_000 });
  expect(prefetch.state).toBe('done');
  expect(await read).toBe('ERR_TIMEOUT');
  expect((await region.read(SIZE / 2 - 1, 1))[0]).toBe(7);
}, 60_000);

it('a prefetch ends when nothing comes', async () => {
  const region = await serveSlowly({ tells: false });
  const prefetch = () => region.prefetch({ wait: true, timeoutMs: 60_000 });
  expect(await codeOf(prefetch)).toBe('ERR_TIMEOUT');
}, 60_000);
