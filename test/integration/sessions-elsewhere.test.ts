import { describe, expect, it } from 'vitest';
import type { TierList } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { CountingProxy } from '../helpers/counting-proxy.js';
import { patternOf, scratch } from '../helpers/scratch.js';
import { whenStopped } from '../helpers/threads.js';

const LENGTH = 2 * 2 ** 20;
const POLL = { timeout: 20_000 };

async function whenConnected(serve: ServeProcess): Promise<void> {
  const state = async () => (await serve.json<TierList>(['tiers'])).tiers[0]?.state;
  await expect.poll(state, POLL).toBe('connected');
}

/** An appliance with a region `pool`, behind a proxy, and another one with its tier there. */
async function servePair(fabricDelayMs = 0) {
  const there = await serveAppliance({ listen: { host: '127.0.0.1', port: 0 } });
  const { tcp: control, fabric } = there.appliance.doors;
  if (control === undefined || fabric.tcp === undefined) throw new Error('no TCP');
  const proxy = await CountingProxy.start({ control, fabric: fabric.tcp, fabricDelayMs });
  await there.appliance.create({ name: 'pool', size: 64 * 2 ** 20 });
  const words = ['--memory', '256KiB', '--tier', `${proxy.url}/pool`];
  const here = await ServeProcess.start(scratch(), words);
  // With a delay it is the start that is looked at.
  if (fabricDelayMs === 0) await whenConnected(here);
  return { there, proxy, here };
}

describe('a session at another appliance', () => {
  it('is there before the first write that needs its pool, however long it takes', async () => {
    const { here } = await servePair(150);
    const region = await (await connectClient(here.ready.control)).allocate({ size: '8MiB' });
    await region.write(0, patternOf(LENGTH));
    expect(Buffer.compare(await region.read(0, LENGTH), patternOf(LENGTH))).toBe(0);
  });

  it('is held again each time that its connection ends', async () => {
    const { there, proxy, here } = await servePair();
    await there.appliance.create({ name: 'data', size: 2 ** 20, fill: 'one' });
    await here.json(['create', 'copy', '--from', `${proxy.url}/data`]);
    const copy = await (await connectClient(here.ready.control)).attach('copy');
    expect((await copy.read(0, 1))[0]).toBe(0xff);
    await expect.poll(() => proxy.holds, POLL).toBe(2);
    const sessions = [...proxy.sessions];
    for (let times = 0; times < 3; times += 1) {
      proxy.endHolds();
      await expect.poll(() => proxy.holds, POLL).toBe(2);
    }
    const { tiers } = await here.json<TierList>(['tiers']);
    expect(tiers[0]?.state).toBe('connected');
    expect((await copy.read(2 ** 19, 1))[0]).toBe(0xff);
    // None of them was another one.
    expect([...proxy.sessions]).toEqual(sessions);
    const client = await connectClient(there.url);
    expect(await codeOf(() => client.attach('pool', { carve: true }))).toBe('ERR_REGION_CARVED');
  });

  /** Ends the session of a tier that holds pages while its appliance does not see that. */
  async function endSession(meanwhile: (url: string) => Promise<void>) {
    const { there, proxy, here } = await servePair();
    const region = await (await connectClient(here.ready.control)).allocate({ size: '8MiB' });
    await region.write(0, patternOf(LENGTH));
    here.child.kill('SIGSTOP');
    await whenStopped(here.ready.pid);
    expect(proxy.sessions.size).toBe(1);
    for (const session of proxy.sessions) {
      await there.control.call('closeSession', { params: { session } });
    }
    await meanwhile(there.url);
    here.child.kill('SIGCONT');
    await expect.poll(() => proxy.sessions.size, POLL).toBe(2);
    await whenConnected(here);
    return region;
  }

  it('finds what it put into a pool that nobody else had meanwhile', async () => {
    const region = await endSession(async (url) => {
      const client = await connectClient(url);
      await (await client.attach('pool')).read(0, 1);
    });
    expect(Buffer.compare(await region.read(0, LENGTH), patternOf(LENGTH))).toBe(0);
  }, 60_000);

  it('takes as lost what was in a pool that somebody else had meanwhile', async () => {
    const region = await endSession(async (url) => {
      const client = await connectClient(url);
      await client.attach('pool', { carve: true });
      await client.close();
    });
    expect(await codeOf(() => region.read(0, 1))).toBe('ERR_PAGE_LOST');
    // From then on it is its own as ever.
    await region.write(2 * LENGTH, patternOf(LENGTH));
    expect(Buffer.compare(await region.read(2 * LENGTH, LENGTH), patternOf(LENGTH))).toBe(0);
  }, 60_000);
});

describe('the right to carve', () => {
  it('tells whether anybody else has had it', async () => {
    const { appliance, control } = await serveAppliance();
    await appliance.create({ name: 'r', size: 4096 });
    const carve = async (carving?: string): Promise<string | null> => {
      const { session } = await control.call('openSession', {});
      const params = { session };
      const body = { region: 'r', carve: true, carving };
      const reply = await control.call('attach', { params, body });
      const again = await control.call('attach', { params, body });
      expect(again.carving).toBe(reply.carving);
      await control.call('closeSession', { params });
      return reply.carving;
    };
    const first = await carve();
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    expect(await carve(first!)).toBe(first);
    const second = await carve();
    expect(second).not.toBe(first);
    const third = await carve(first!);
    expect([first, second]).not.toContain(third);
    const { session } = await control.call('openSession', {});
    const params = { session };
    const plain = await control.call('attach', { params, body: { region: 'r' } });
    expect(plain.carving).toBeNull();
    await control.call('closeSession', { params });
  });
});
