import { describe, expect, it, onTestFinished } from 'vitest';
import { fabricDoorOf } from '../../src/control/address.js';
import { ControlClient } from '../../src/control/http-client.js';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import type { Access } from '../../src/native/binding.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const BYTES = Buffer.from('not yours');

/** An appliance with TCP, and what a client there can do that carves a region of it. */
async function serveBoth() {
  const { appliance, url } = await serveAppliance({ listen: '127.0.0.1:0' });
  const { tcp } = appliance.doors;
  const control = new ControlClient({ address: { host: tcp!.host, port: tcp!.port } });
  const owner = await connectClient(url);
  let turn = 0;
  const carve = async (region: string, access?: Access) => {
    const { session } = await control.call('openSession', {});
    const params = { session };
    const { stag } = await control.call('attach', {
      params,
      body: { region, access, carve: true },
    });
    const discard = async (range: { offset?: number; length?: number } = {}) => {
      turn += 1;
      const body = { ...range, dirty: 'discard', carver: { session, turn } } as const;
      return await control.call('invalidate', { params: { region }, body });
    };
    const end = async () => await control.call('closeSession', { params });
    return { session, stag, discard, end };
  };
  return { appliance, owner, control, carve };
}

describe('who carves a region at the TCP door', () => {
  it('may not discard what is protected', async () => {
    const { appliance, owner, carve } = await serveBoth();
    await appliance.create({ name: 'r', size: 8 * PAGE });
    const region = await owner.attach('r');
    for (let page = 0; page < 8; page += 1) await region.write(page * PAGE, BYTES);
    await appliance.protect('r', { access: 'read', offset: 2 * PAGE, length: 2 * PAGE });
    const { discard } = await carve('r');
    const refused = [
      {},
      { offset: 3 * PAGE },
      { length: 3 * PAGE },
      { offset: 2 * PAGE, length: PAGE },
      { offset: PAGE, length: 5 * PAGE },
    ];
    for (const range of refused) expect(await codeOf(() => discard(range))).toBe('ERR_ACCESS');
    expect((await region.stat()).pages.dirty).toBe(8);
    // Where its WRITEs go it may, and an answer that refuses has had its turn.
    expect(await discard({ length: 2 * PAGE })).toMatchObject({ pagesInvalidated: 2 });
    expect(await discard({ offset: 4 * PAGE })).toMatchObject({ pagesInvalidated: 4 });
    expect(Buffer.from(await region.read(2 * PAGE, BYTES.length)).equals(BYTES)).toBe(true);
  });

  it.each([
    ['a file', (file: string) => ({ file })],
    ['a kept file', () => ({ size: 8 * PAGE, persist: true })],
  ])('may not discard what %s is to have', async (_, options) => {
    const { appliance, owner, carve } = await serveBoth();
    const file = patternFile(scratch(), { length: 8 * PAGE });
    await appliance.create({ name: 'r', ...options(file) });
    const region = await owner.attach('r');
    await region.write(0, BYTES);
    const { discard } = await carve('r');
    expect(await codeOf(() => discard())).toBe('ERR_ACCESS');
    expect(Buffer.from(await region.read(0, BYTES.length)).equals(BYTES)).toBe(true);
    expect(await region.sync()).toMatchObject({ pagesWritten: 1 });
  });

  it('has turns for nothing else', async () => {
    const { appliance, control, carve } = await serveBoth();
    await appliance.create({ name: 'r', size: 8 * PAGE });
    const { session } = await carve('r');
    for (const dirty of ['sync', 'refuse', undefined] as const) {
      const body = { dirty, carver: { session, turn: 1 } };
      const call = () => control.call('invalidate', { params: { region: 'r' }, body });
      expect(await codeOf(call)).toBe('ERR_ARGUMENT');
    }
  });

  it('may not discard where it may only read', async () => {
    const { appliance, owner, control, carve } = await serveBoth();
    await appliance.create({ name: 'r', size: 8 * PAGE });
    const region = await owner.attach('r');
    await region.write(0, BYTES);
    const reader = await carve('r', 'read-only');
    expect(await codeOf(() => reader.discard())).toBe('ERR_ACCESS');
    // With another attachment it may, as long as it has that.
    const params = { session: reader.session };
    const { stag } = await control.call('attach', { params, body: { region: 'r' } });
    expect(await reader.discard()).toMatchObject({ pagesInvalidated: 1 });
    await control.call('detach', { params: { ...params, stag } });
    expect(await codeOf(() => reader.discard())).toBe('ERR_ACCESS');
  });
});

describe('the right to carve', () => {
  it('passes on once nothing of its session can arrive, whatever else that waits for', async () => {
    const there = await serveAppliance();
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    onTestFinished(() => release());
    let held = 0;
    const fill = async () => {
      held += 1;
      await released;
    };
    const stuck = { fill, timeoutMs: 120_000 };
    await there.appliance.create({ name: 'stuck', size: 64 * PAGE, source: stuck });
    const { appliance, control, url } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8 * PAGE });
    const { session, ticket, fabric } = await control.call('openSession', {});
    const params = { session };
    const { stag } = await control.call('attach', { params, body: { region: 'r', carve: true } });
    const door = fabricDoorOf(control.address, fabric);
    const writer = await QueuePair.connect({ ...door, ticket: Buffer.from(ticket, 'hex') });
    onTestFinished(() => writer.close());
    const write = async () => await writer.write({ stag, offset: 0, bytes: BYTES });
    // A region of its own that takes a while to end: a page of it is on its way for so long.
    const from = `${there.url}?region=stuck`;
    const own = await control.call('allocate', { params, body: { from } });
    const again = await control.call('openTicket', { params });
    const reader = await QueuePair.connect({ ...door, ticket: Buffer.from(again.ticket, 'hex') });
    onTestFinished(() => reader.close());
    const reading = reader.read({ stag: own.stag, offset: 0, length: 1, timeoutMs: 60_000 });
    reading.catch(() => {});
    await expect.poll(() => held, { timeout: 20_000 }).toBeGreaterThan(0);
    const mine = { params: { region: own.region }, timeoutMs: 60_000 };
    control.call('invalidate', { ...mine, body: {} }).catch(() => {});
    await control.call('stat', mine);
    await write();
    const ending = control.call('closeSession', { params, timeoutMs: 60_000 });
    const ended = () => codeOf(() => control.call('openTicket', { params }));
    await expect.poll(ended, { timeout: 20_000 }).toBe('ERR_SESSION_ENDED');
    const other = await connectClient(url);
    // Not at the end of that region, for which its device is waited for 15 s at least.
    expect((await other.attach('r', { carve: true })).carve).toBe(true);
    expect(await codeOf(write)).not.toBe('nothing');
    release();
    await ending;
  }, 90_000);
});
