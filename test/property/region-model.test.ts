import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGES = 48;
/** The last page is a partial one. */
const LENGTH = PAGES * 4096 - 1234;
const CLIENTS = 3;
const RUNS = 25;

const place = fc.record({
  client: fc.nat(CLIENTS - 1),
  // Around page edges as often as anywhere.
  offset: fc.oneof(
    fc.nat(LENGTH - 1),
    fc.nat(PAGES - 1).map((page) => Math.max(page * 4096 - 3, 0)),
  ),
  length: fc.oneof(fc.nat(64), fc.nat(3 * 4096)),
});
const word = fc.nat(Math.floor(LENGTH / 8) - 1).map((index) => index * 8);
const client = fc.nat(CLIENTS - 1);

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('read' as const), at: place }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('write' as const), at: place, seed: fc.nat() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      client,
      word,
      addend: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('swap' as const), client, word, hit: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const), client }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sync' as const), client }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reclaim' as const), client }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Does one step and holds what comes of it against the model. */
async function take(one: Step, regions: readonly ExternalRegion[], model: Buffer): Promise<void> {
  const region = regions['at' in one ? one.at.client : one.client] as ExternalRegion;
  if (one.kind === 'read' || one.kind === 'write') {
    const { offset } = one.at;
    const length = Math.min(one.at.length, LENGTH - offset);
    if (one.kind === 'read') {
      const bytes = await region.read(offset, length);
      expect(Buffer.compare(bytes, model.subarray(offset, offset + length))).toBe(0);
    } else {
      const bytes = patternOf(length, one.seed);
      bytes.copy(model, offset);
      await region.write(offset, bytes);
    }
  } else if (one.kind === 'add') {
    const before = model.readBigUInt64LE(one.word);
    model.writeBigUInt64LE(BigInt.asUintN(64, before + one.addend), one.word);
    expect(await region.fetchAdd(one.word, one.addend)).toBe(before);
  } else if (one.kind === 'swap') {
    const before = model.readBigUInt64LE(one.word);
    const expected = one.hit ? before : BigInt.asUintN(64, before + 1n);
    if (one.hit) model.writeBigUInt64LE(7n, one.word);
    expect(await region.compareSwap(one.word, expected, 7n)).toBe(before);
  } else if (one.kind === 'reclaim') {
    await region.reclaim();
  } else {
    await region[one.kind]();
  }
}

it.each(['64MiB', '64KiB'])('is as memory would be, with %s of it', async (memory) => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const regions = [{ name: 'r', file, writeBehind: true }];
  const { appliance, url } = await serveAppliance({ memory, regions }, folder);
  const model = patternOf(LENGTH);
  const clients: ExternalRegion[] = [];
  for (let at = 0; at < CLIENTS; at += 1)
    clients.push(await (await connectClient(url)).attach('r'));
  const runs = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    for (const one of steps) await take(one, clients, model);
    const { pages } = await (clients[0] as ExternalRegion).stat();
    expect(pages.lost).toBe(0);
    if (memory === '64KiB') expect(pages.present).toBeLessThanOrEqual(16);
  });
  // Each run goes on where the one before it ended, so a failure cannot be made smaller.
  await fc.assert(runs, { numRuns: RUNS, endOnFailure: true });
  await appliance.close();
  expect(Buffer.compare(readFileSync(file), model)).toBe(0);
});

it('loses no update of writers that run beside flushes and syncs', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const { appliance, url } = await serveAppliance({ regions: [{ name: 'r', file }] }, folder);
  const region = await (await connectClient(url)).attach('r');
  const syncer = await (await connectClient(url)).attach('r');
  const model = patternOf(LENGTH);
  let writing = true;
  const syncs = (async () => {
    for (let at = 0; writing; at += 1) await (at % 2 ? syncer.sync() : syncer.flush());
  })();
  for (let round = 0; round < 150; round += 1) {
    const writes = Array.from({ length: 20 }, async (_, at) => {
      const bytes = patternOf(200, round * 20 + at);
      const offset = ((round * 20 + at) * 7919) % (LENGTH - 200);
      // Places of one round may overlap: what the model has last was also posted last.
      bytes.copy(model, offset);
      await region.write(offset, bytes);
    });
    await Promise.all(writes);
  }
  writing = false;
  await syncs;
  expect(Buffer.compare(await region.read(0, LENGTH), model)).toBe(0);
  await appliance.close();
  expect(Buffer.compare(readFileSync(file), model)).toBe(0);
});
