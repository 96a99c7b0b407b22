import { describe, expect, it, onTestFinished } from 'vitest';
import { TierPool } from '../../src/appliance/tier-pool.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { CountingProxy } from '../helpers/counting-proxy.js';

const MIB = 2 ** 20;
const SIZE = 64 * 2 ** 30;
const isOwn = () => false;

/** A pool at another appliance, behind a proxy. */
async function servePool() {
  const {
    appliance,
    url,
    control: own,
  } = await serveAppliance({ listen: { host: '127.0.0.1', port: 0 } });
  const { tcp: control, fabric } = appliance.doors;
  if (control === undefined || fabric.tcp === undefined) throw new Error('no TCP');
  const proxy = await CountingProxy.start({ control, fabric: fabric.tcp });
  await appliance.create({ name: 'pool', size: SIZE });
  const pool = new TierPool({ url: `${proxy.url}/pool` });
  onTestFinished(() => pool.close());
  return { appliance, url, own, proxy, pool };
}

describe('a pool that is to forget something', () => {
  it('is asked for 64 MiB at a time', async () => {
    const { appliance, proxy, pool } = await servePool();
    await pool.door(isOwn);
    const before = proxy.requests;
    const runs = [
      [0, 150 * MIB],
      [512 * MIB, MIB],
    ] as const;
    expect(await pool.forget(runs)).toBe('forgotten');
    expect(proxy.requests - before).toBe(4);
    expect(appliance.regions()[0]?.pages.present).toBe(0);
  });

  it('has so long for all of it together', async () => {
    const { proxy, pool } = await servePool();
    await pool.door(isOwn);
    const before = proxy.requests;
    expect(await pool.forget([[0, SIZE]], 20)).toBe('unknown');
    expect(proxy.requests - before).toBeLessThan(SIZE / (64 * MIB));
  });

  it('may still do what it has not answered, until it does a later request', async () => {
    const { appliance, own, proxy, pool } = await servePool();
    await pool.door(isOwn);
    const forget = () => pool.forget([[0, MIB]]);
    const protect = (access: 'read' | 'read-write') => appliance.protect('pool', { access });
    await protect('read');
    expect(await forget()).toBe('kept');
    await protect('read-write');
    proxy.alter = () => 'no answer';
    expect(await forget()).toBe('unknown');
    proxy.alter = (body) => body;
    await protect('read');
    expect(await forget()).toBe('unknown');
    await protect('read-write');
    expect(await forget()).toBe('forgotten');
    await protect('read');
    expect(await forget()).toBe('kept');
    // A session that has ended does nothing more, whatever was asked in it.
    proxy.alter = () => 'no answer';
    expect(await forget()).toBe('unknown');
    proxy.alter = (body) => body;
    const [session = ''] = proxy.sessions;
    await own.call('closeSession', { params: { session } });
    expect(await forget()).toBe('kept');
  });
});

describe('a pool that is closed', () => {
  it('has no door any more', async () => {
    const { proxy, pool } = await servePool();
    await pool.door(isOwn);
    await pool.close();
    const before = proxy.requests;
    expect(await codeOf(() => pool.door(isOwn))).toBe('ERR_CLOSED');
    expect(proxy.requests).toBe(before);
    expect(proxy.sessions.size).toBe(1);
  });

  it('leaves no session behind that is being opened', async () => {
    const { url, proxy, pool } = await servePool();
    let closing: Promise<void> | undefined;
    proxy.alter = (body) => {
      if (body.includes('"stag"')) closing ??= pool.close();
      return body;
    };
    expect(await codeOf(() => pool.door(isOwn))).toBe('ERR_CLOSED');
    await closing;
    const client = await connectClient(url);
    expect((await client.attach('pool', { carve: true })).carve).toBe(true);
  });

  it('opens none after the one before has ended', async () => {
    const { proxy, pool } = await servePool();
    await pool.door(isOwn);
    let closing: Promise<void> | undefined;
    proxy.alter = (body) => {
      closing ??= pool.close();
      return body;
    };
    expect(await codeOf(() => pool.door(isOwn))).toBe('ERR_CLOSED');
    await closing;
    expect(proxy.sessions.size).toBe(1);
  });
});
