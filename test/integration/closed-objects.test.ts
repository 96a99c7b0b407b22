/** What was closed, detached or freed does nothing any more, and says so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';

const codesOf = async (calls: readonly (() => unknown)[]) =>
  new Set(await Promise.all(calls.map((call) => codeOf(call))));

/** What goes over the control plane and what goes over the fabric. */
const callsOn = (region: ExternalRegion) => [
  () => region.stat(),
  () => region.sync(),
  () => region.flush(),
  () => region.receipt(),
  () => region.prefetch(),
  () => region.invalidate(),
  () => region.protect('none'),
  () => region.pin(),
  () => region.pageMap(),
  () => region.provenance().next(),
  () => region.workingSet.stat(),
  () => region.read(0, 1),
  () => region.write(0, Buffer.alloc(1)),
  () => region.fetchAdd(0, 1n),
  () => region.readSync(0, 1),
];

it('an appliance refuses whatever comes after its close, and leaves the state alone', async () => {
  const { appliance, folder } = await serveAppliance();
  await appliance.create({ name: 'r', size: 8192, persist: true });
  const closing = appliance.close();
  const calls = [
    () => appliance.create({ name: 'late', size: 4096 }),
    () => appliance.protect('r', { access: 'none' }),
    () => appliance.pin('r'),
    () => appliance.unpin('r'),
    () => appliance.invalidate('r'),
    () => appliance.regions(),
    () => appliance.regionNames,
  ];
  expect(await codesOf(calls)).toEqual(new Set(['ERR_CLOSED']));
  await closing;
  expect(await codesOf(calls)).toEqual(new Set(['ERR_CLOSED']));
  expect(readFileSync(join(folder, 'state', 'catalog.json'), 'utf8')).not.toContain('late');
});

it('a region of a closed client and a detached one end every call with ERR_CLOSED', async () => {
  const { url, appliance } = await serveAppliance();
  const client = await connectClient(url);
  const region = await client.allocate({ name: 'r', size: 8192 });
  const slab = region.allocate(64);
  const { workingSet } = region;
  await region.detach();
  await region.detach();
  const closed = new Set(['ERR_CLOSED']);
  expect(await codesOf(callsOn(region))).toEqual(closed);
  expect(await codesOf([() => slab.read(0, 1), () => workingSet.stat()])).toEqual(closed);
  // It stays, and another attachment of the same client goes on.
  const again = await client.attach('r');
  expect(await codesOf([() => again.read(0, 1), () => again.stat()])).toEqual(new Set(['nothing']));
  await client.close();
  await again.detach();
  expect(await codesOf([...callsOn(again), () => again.fence()])).toEqual(closed);
  const calls = [() => client.regions(), () => client.attach('r'), () => client.remove('r')];
  expect(await codesOf([...calls, () => client.sync([again])])).toEqual(closed);
  expect(appliance.regionNames).toEqual(['r']);
});

it('a client that is closed tells so, also where a request is under way', async () => {
  const { url, appliance } = await serveAppliance();
  let asked = 0;
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  onTestFinished(() => release());
  const writeBack = async () => {
    asked += 1;
    await released;
  };
  const source = { fill: async () => {}, writeBack, timeoutMs: 60_000 };
  await appliance.create({ name: 'slow', size: 8192, source });
  const client = await connectClient(url);
  const region = await client.attach('slow');
  await region.write(0, Buffer.from('x'));
  const synced = codeOf(() => region.sync());
  await expect.poll(() => asked).toBe(1);
  await client.close();
  expect(await synced).toBe('ERR_CLOSED');
});
