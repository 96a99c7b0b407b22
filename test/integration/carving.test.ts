import { describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/http-client.js';
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
