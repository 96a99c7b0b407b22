/** What no operation and no call takes: a code with a sentence, and nothing is changed. */
import { expect, it } from 'vitest';
import { connect } from '../../src/client/client.js';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';

type Call = (region: ExternalRegion) => unknown;
// biome-ignore lint/suspicious/noExplicitAny: what plain JavaScript may pass.
const given = (value: unknown) => value as any;

const REFUSED: readonly (readonly [string, Call, string | RegExp])[] = [
  ['read(1n)', (r) => r.read(given(1n), 8), 'offset: a number of bytes, not 1n'],
  ['read(0)', (r) => r.read(0, given(undefined)), 'length: a number of bytes, not undefined'],
  ['read(null limits)', (r) => r.read(0, 8, given(null)), 'limits: an object, not null'],
  ['read(signal)', (r) => r.read(0, 8, given({ signal: {} })), 'signal: an AbortSignal'],
  ['read(timeoutMs)', (r) => r.read(0, 8, given({ timeoutMs: '5' })), 'timeoutMs: 0 or more'],
  ['read(timoutMs)', (r) => r.read(0, 8, given({ timoutMs: 5 })), 'limits have no timoutMs'],
  ['readSync(null limits)', (r) => r.readSync(0, 8, given(null)), 'not null'],
  ['readInto', (r) => r.readInto(0, given(new DataView(new ArrayBuffer(8)))), 'no Uint8Array'],
  ['readInto(null)', (r) => r.readInto(0, given(null)), 'memory is no Uint8Array'],
  ['readIntoSync', (r) => r.readIntoSync(0, given(new ArrayBuffer(8))), 'no Uint8Array'],
  ['write', (r) => r.write(0, given({ byteLength: 2 ** 21 })), 'bytes is no Uint8Array'],
  ['write(text)', (r) => r.write(0, given('text')), 'perhaps Buffer.from(it)'],
  ['writeSync', (r) => r.writeSync(0, given('text')), 'bytes is no Uint8Array'],
  ['fetchAdd(1n)', (r) => r.fetchAdd(given(1n), 1n), 'offset: a number of bytes, not 1n'],
  ['fetchAdd(0, 1)', (r) => r.fetchAdd(0, given(1)), 'addend: a bigint such as 1n, not 1'],
  ['compareSwap(0, 1n)', (r) => r.compareSwap(0, 1n, given(undefined)), 'desired: a bigint'],
  ['write(floats)', (r) => r.write(0, given(new Float32Array(2))), 'new Uint8Array(it.buffer'],
  ['fetchAddSync', (r) => r.fetchAddSync(0, 1n, given({ wait: 1 })), 'limits have no wait'],
  ['compareSwap', (r) => r.compareSwap(0, 1n, 2n, given(5)), 'limits: an object, not 5'],
  ['fence', (r) => r.fence(given({ timeoutMs: Number.NaN })), 'timeoutMs: 0 or more, not NaN'],
  ['sync(null)', (r) => r.sync(given(null)), 'options: an object, not null'],
  [
    'sync(ofset)',
    (r) => r.sync(given({ ofset: 4096 })),
    'options have no ofset, but offset, length',
  ],
  ['flush', (r) => r.flush(given({ length: '4K' })), /length/],
  ['reclaim', (r) => r.reclaim(given({ dirt: 'sync' })), 'options have no dirt'],
  ['invalidate', (r) => r.invalidate(given([])), 'options: an object, not an array'],
  ['prefetch', (r) => r.prefetch(given({ waits: true })), 'options have no waits'],
  ['demote', (r) => r.demote(given({ colt: '1m' })), 'options have no colt'],
  ['pin', (r) => r.pin(given({ lasy: true })), 'options have no lasy'],
  ['unpin', (r) => r.unpin(given(7)), 'options: an object, not 7'],
  ['protect', (r) => r.protect('none', given({ lenght: 4096 })), 'options have no lenght'],
  ['provenance', (r) => r.provenance(given({ from: 0 })), 'options have no from'],
  ['pageMap', (r) => r.pageMap(given({ cell: 4 })), 'options have no cell'],
  ['stat', (r) => r.stat(given({ timeout: 5 })), 'limits have no timeout'],
  ['pins', (r) => r.pins(given(null)), 'limits: an object, not null'],
  ['workingSet', (r) => r.workingSet.stat(given('now')), 'limits: an object, not "now"'],
  ['record', (r) => r.workingSet.record(given(null)), '"null" is no age'],
  ['detach', (r) => r.detach(given({ force: true })), 'limits have no force'],
  ['allocate', (r) => r.allocate(64, given(null)), 'options: an object, not null'],
  ['allocate(align)', (r) => r.allocate(64, given({ algin: 4096 })), 'options have no algin'],
  ['allocate(3)', (r) => r.allocate(64, { align: 3 }), 'align 3 is no power of two'],
  ['slab(text)', (r) => r.slab(given({ offset: '0', length: '64' })), 'in bytes'],
  ['slab', (r) => r.slab(given(null)), 'a place: an object, not null'],
];

it('a region and its client refuse what they cannot take by name and type', async () => {
  const { appliance, url } = await serveAppliance();
  const client = await connectClient(url);
  const region = await client.allocate({ name: 'r', size: '4MiB', persist: true });
  await region.write(0, Buffer.from('dirty'));
  const refuses = async (what: string, call: () => unknown, said: string | RegExp) => {
    await expect((async () => call())(), what).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message:
        typeof said === 'string' ? expect.stringContaining(said) : expect.stringMatching(said),
    });
  };
  for (const [what, call, said] of REFUSED) await refuses(what, () => call(region), said);
  await refuses('attach', () => client.attach('r', given(null)), 'options: an object, not null');
  await refuses('attach', () => client.attach('r', given({ carv: 1 })), 'options have no carv');
  await refuses('remove', () => client.remove('r', given({ dirt: 'sync' })), 'have no dirt');
  await refuses('remove', () => client.remove(given(undefined)), 'region is missing');
  await refuses('create', () => client.create(given(5)), 'of a region: an object, not 5');
  await refuses('create', () => client.create(given({ nam: 'x', size: 4096 })), 'nam');
  await refuses('regions', () => client.regions(given({ x: 1 })), 'limits have no x');
  for (const none of [undefined, ['r'], [null], region]) {
    await refuses('sync', () => client.sync(given(none)), 'regions: an array of those that attach');
  }
  await refuses('connect', () => connect(given(5)), 'url: a text, not 5');
  await refuses('connect', () => connect(url, given(null)), 'options: an object, not null');
  await refuses('connect', () => connect(url, given({ tokn: 'x' })), 'options have no tokn');
  const depth = { fabric: { depth: 0 } };
  await refuses('connect', () => connect(url, depth), 'depth: a whole number from 1 to 128, not 0');
  await refuses('connect', () => connect(url, given({ fabric: { dept: 1 } })), 'have no dept');
  await refuses(
    'connect',
    () => connect(url, { fabric: { spinUs: -1 } }),
    'spinUs: a whole number',
  );
  // The administrator has no turns.
  const carver = { session: '00', turn: 1 };
  await refuses('invalidate', () => appliance.invalidate('r', given({ carver })), 'carver');
  // Nothing has come of it.
  expect(appliance.regionNames).toEqual(['r']);
  expect((await region.stat()).pages).toMatchObject({ dirty: 1, present: 1, pinned: 0 });
  expect(Buffer.from(await region.read(0, 8)).toString()).toBe('dirty\0\0\0');
  expect(region.allocate(64).offset).toBe(0);
});

it('sizes may be texts wherever a region is made', async () => {
  const { appliance } = await serveAppliance({ memory: '16MiB' });
  expect((await appliance.create({ name: 'a', size: '1MiB' })).size).toBe(2 ** 20);
  const source = { fill: async () => {} };
  const supplied = await appliance.create({ name: 'b', size: '64K', resident: '8KiB', source });
  expect([supplied.size, supplied.frames.max]).toEqual([2 ** 16, 2]);
  await expect(appliance.create({ name: 'c', size: '1MB' })).rejects.toMatchObject({
    code: 'ERR_SIZE',
  });
  await expect(appliance.create(given(null))).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  expect(appliance.regionNames).toEqual(['a', 'b']);
});

it('a region shows what it is, and nothing of how it works', async () => {
  const { url } = await serveAppliance();
  const region = await (await connectClient(url)).allocate({ name: 'r', size: '1MiB' });
  const [offset, pageSize] = [0, 4096];
  const shown = { size: 2 ** 20, offset, name: 'r', pageSize, access: 'read-write' };
  expect(Object.entries(region)).toEqual(Object.entries(shown));
  expect(Object.entries(region.allocate(64))).toEqual([
    ['size', 64],
    ['offset', 0],
  ]);
});
