/** What an operation that is refused does to others of its client: nothing that they hear of. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';

const PAGE = 4096;
const REFUSALS = 30;

it('a read that takes long outlives the connections that refusals break', async () => {
  const { appliance, url } = await serveAppliance();
  let refused = 0;
  await appliance.create({
    name: 'slow',
    size: PAGE,
    source: {
      fill: async (_, into, signal) => {
        while (refused < REFUSALS && !signal.aborted) await sleep(1);
        into.fill(7);
      },
    },
  });
  const client = await connectClient(url);
  const slow = await client.attach('slow');
  const shut = await client.allocate({ size: PAGE });
  await shut.protect('none');
  const read = codeOf(() => slow.read(0, 8));
  for (; refused < REFUSALS; refused += 1) {
    expect(await codeOf(() => shut.read(0, 8))).toBe('ERR_ACCESS');
  }
  expect(await read).toBe('nothing');
});
