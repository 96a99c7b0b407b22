import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { QUOTA_DEFAULT } from '../../src/appliance/quota.js';
import { connect } from '../../src/client/client.js';
import { ControlClient } from '../../src/control/http-client.js';
import { HOLD_PATH } from '../../src/control/routes.js';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

describe.each(['unix', 'tcp'] as const)('a client over %s', (door) => {
  async function serve() {
    const served = await serveAppliance({ listen: LOOPBACK, sessionGraceMs: 200 });
    const { tcp } = served.appliance.doors;
    const url = door === 'unix' ? served.url : `farpage://127.0.0.1:${tcp?.port}`;
    return { ...served, url };
  }

  it('allocates, carves, reads, writes and counts', async () => {
    const { url } = await serve();
    const client = await connectClient(url);
    const region = await client.allocate({ name: 'scratch', size: '1TiB', fill: 'zero' });
    expect([region.size, region.carve, region.access]).toEqual([2 ** 40, true, 'read-write']);
    const slab = region.allocate('64KiB');
    const bytes = patternOf(9000);
    await slab.write(100, bytes);
    expect(Buffer.compare(await slab.read(100, 9000), bytes)).toBe(0);
    expect([...(await slab.read(20_000, 4))]).toEqual([0, 0, 0, 0]);
    expect(await slab.fetchAdd(8, 5n)).toBe(0n);
    expect(await slab.compareSwap(8, 5n, 7n)).toBe(5n);
    expect(await slab.compareSwap(8, 5n, 9n)).toBe(7n);
    expect(slab.fetchAddSync(8, -7n)).toBe(7n);
    expect(slab.compareSwapSync(8, 0n, 2n ** 64n - 1n)).toBe(0n);
    expect(await region.fetchAdd(slab.offset + 8, 1n)).toBe(2n ** 64n - 1n);
    slab.writeSync(0, bytes.subarray(0, 8));
    expect(Buffer.compare(slab.readSync(0, 8), bytes.subarray(0, 8))).toBe(0);
    expect(await codeOf(() => slab.read(65_535, 2))).toBe('ERR_RANGE');
    expect(await codeOf(() => slab.fetchAdd(4, 1n))).toBe('ERR_ALIGNMENT');
    expect(await codeOf(() => slab.read(-1, 1))).toBe('ERR_ARGUMENT');
    expect(await codeOf(() => region.slab({ offset: 2 ** 40, length: 1 }))).toBe('ERR_RANGE');
    slab.free();
    slab.free();
    expect(region.allocate(2 ** 40).offset).toBe(0);
  });

  it('lets nobody at the place of a slab that was freed', async () => {
    const { url } = await serve();
    const region = await (await connectClient(url)).allocate({ size: '1MiB', fill: 'one' });
    const slab = region.allocate(64);
    const known = region.slab({ offset: 4096, length: 64 });
    slab.free();
    known.free();
    const next = region.allocate(64);
    expect(next.offset).toBe(slab.offset);
    const bytes = new Uint8Array(64);
    for (const freed of [slab, known]) {
      for (const call of [
        () => freed.read(0, 1),
        () => freed.readInto(0, bytes),
        () => freed.write(0, bytes),
        () => freed.fetchAdd(8, 1n),
        () => freed.compareSwap(8, 0n, 1n),
        () => freed.readSync(0, 1),
        () => freed.readIntoSync(0, bytes),
        () => freed.writeSync(0, bytes),
        () => freed.fetchAddSync(8, 1n),
        () => freed.compareSwapSync(8, 0n, 1n),
      ]) {
        expect(await codeOf(call)).toBe('ERR_CLOSED');
      }
    }
    expect([...(await next.read(0, 2))]).toEqual([255, 255]);
  });

  it('moves more than one operation may, in both directions and both manners', async () => {
    const { url } = await serve();
    const bytes = Buffer.concat(Array(512).fill(patternOf(10_271)));
    const region = await (await connectClient(url)).allocate({ size: '16MiB' });
    await region.write(777, bytes);
    expect(Buffer.compare(await region.read(777, bytes.length), bytes)).toBe(0);
    const into = new Uint8Array(bytes.length);
    expect(await region.readInto(777, into)).toBe(into);
    expect(Buffer.compare(into, bytes)).toBe(0);
    region.writeSync(3_000_000, bytes);
    expect(Buffer.compare(region.readSync(3_000_000, bytes.length), bytes)).toBe(0);
  });

  it('loses what is unnamed with its session, and keeps what is named', async () => {
    const { url, control } = await serve();
    const client = await connectClient(url);
    await client.allocate({ name: 'named', size: 4096 });
    const unnamed = await client.allocate({ size: 4096, fill: 'one' });
    expect([...(await unnamed.read(0, 2))]).toEqual([255, 255]);
    expect(unnamed.name).toMatch(/^@[0-9a-f]{12}$/);
    const names = async () => (await control.call('regions', {})).regions.map(({ name }) => name);
    expect(await names()).toEqual([unnamed.name, 'named']);
    await sleep(500);
    expect(await names()).toEqual([unnamed.name, 'named']);
    await client.close();
    expect(await names()).toEqual(['named']);
    expect(await codeOf(() => unnamed.read(0, 1))).toBe('ERR_CLOSED');
  });

  it('has the right to carve alone', async () => {
    const { url } = await serve();
    const [one, two] = [await connectClient(url), await connectClient(url)];
    const region = await one.allocate({ name: 'r', size: 8192 });
    const other = await two.attach('r');
    expect(await codeOf(() => other.allocate(64))).toBe('ERR_REGION_CARVED');
    expect(() => other.allocate(64)).toThrow(
      /attach it with carve.*: r was attached without carve/,
    );
    expect(await codeOf(() => two.attach('r', { carve: true }))).toBe('ERR_REGION_CARVED');
    await expect(two.attach('r', { carve: true })).rejects.toThrow(/another session carves r$/);
    await region.write(64, Buffer.from('seen'));
    const place = other.slab({ offset: 64, length: 4 });
    expect(Buffer.from(await place.read(0, 4)).toString()).toBe('seen');
    await region.detach();
    expect((await two.attach('r', { carve: true })).allocate(64).offset).toBe(0);
  });

  it('may do with a read-only region only what that permits', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const { url, appliance } = await serve();
    await appliance.create({ name: 'r', file, access: 'read-only' });
    const client = await connectClient(url);
    expect(await codeOf(() => client.attach('r', { access: 'read-write' }))).toBe('ERR_ACCESS');
    const region = await client.attach('r');
    expect(await codeOf(() => region.write(0, Buffer.from('x')))).toBe('ERR_ACCESS');
    expect(Buffer.compare(await region.read(0, 8192), patternOf(8192))).toBe(0);
  });
});

describe('a session', () => {
  it('ends by its grace when nobody holds it, and its STags with it', async () => {
    const { appliance, control } = await serveAppliance({ sessionGraceMs: 150 });
    await appliance.create({ name: 'r', size: 4096 });
    const { session, ticket, fabric } = await control.call('openSession', {});
    const params = { session };
    const { stag } = await control.call('attach', { params, body: { region: 'r' } });
    const pair = await QueuePair.connect({
      path: fabric.unix!,
      ticket: Buffer.from(ticket, 'hex'),
    });
    expect((await pair.read({ stag, offset: 0, length: 1 })).length).toBe(1);
    await sleep(400);
    expect(await codeOf(() => control.call('openTicket', { params }))).toBe('ERR_SESSION_ENDED');
    const read = pair.read({ stag, offset: 0, length: 1 });
    expect(['ERR_STAG', 'ERR_CONNECTION']).toContain(await codeOf(() => read));
    pair.close();
  });

  it('is kept by a connection that is held open, however idle it is', async () => {
    // Enough for a busy machine to make the connection in.
    const { url, control } = await serveAppliance({ sessionGraceMs: 1500 });
    const client = await connectClient(url);
    const region = await client.allocate({ size: 4096 });
    await sleep(2500);
    expect((await region.read(0, 1)).length).toBe(1);
    expect(client.connections).toBe(1);
    expect((await control.call('regions', {})).regions).toHaveLength(1);
  });

  it('needs a ticket at the fabric, of a session that lives', async () => {
    const { appliance, control } = await serveAppliance();
    const path = appliance.doors.fabric.unix!;
    const none = () => QueuePair.connect({ path, ticket: Buffer.alloc(16) });
    expect(await codeOf(none)).toBe('ERR_TICKET');
    const { session, ticket } = await control.call('openSession', {});
    await control.call('closeSession', { params: { session } });
    const late = () => QueuePair.connect({ path, ticket: Buffer.from(ticket, 'hex') });
    expect(await codeOf(late)).toBe('ERR_TICKET');
  });

  it('has quotas', async () => {
    const quota = { sessionsMax: 2, sessionRegionsMax: 2, sessionBytesMax: 16_384, regionsMax: 3 };
    const { url, appliance } = await serveAppliance({ quota });
    const client = await connectClient(url);
    expect(await codeOf(() => client.allocate({ size: 20_480 }))).toBe('ERR_QUOTA');
    await client.allocate({ size: 8192 });
    await client.allocate({ size: 4096 });
    expect(await codeOf(() => client.allocate({ size: 4096 }))).toBe('ERR_QUOTA');
    await appliance.create({ name: 'third', size: 4096 });
    expect(await codeOf(() => appliance.create({ name: 'r4', size: 4096 }))).toBe('ERR_QUOTA');
    await connectClient(url);
    expect(await codeOf(() => connect(url))).toBe('ERR_QUOTA');
  });

  it.each(['unix', 'tcp'] as const)('has a quota that %s connections suffice for', async (door) => {
    const { appliance } = await serveAppliance({ listen: LOOPBACK });
    const { socket, tcp = { host: '', port: 0 } } = appliance.doors;
    const address = door === 'unix' ? { path: socket } : tcp;
    const open = async (): Promise<string> => {
      const control = new ControlClient({ address });
      onTestFinished(() => control.close());
      const { session } = await control.call('openSession', {});
      onTestFinished(control.open(HOLD_PATH.replace(':session', session), () => {}));
      // Its own connection stays open beside the one that holds the session.
      await control.call('openTicket', { params: { session } });
      return session;
    };
    const sessions = new Set<string>();
    for (let n = 0; n < QUOTA_DEFAULT.sessionsMax; n += 1) sessions.add(await open());
    expect(sessions.size).toBe(QUOTA_DEFAULT.sessionsMax);
    expect(await codeOf(open)).toBe('ERR_QUOTA');
  });
});

describe('the TCP door', () => {
  it('asks for its token', async () => {
    const folder = scratch();
    const tokenFile = patternFile(folder, { length: 0, name: 'token' });
    const { writeFileSync } = await import('node:fs');
    writeFileSync(tokenFile, 'short\n');
    const open = () => serveAppliance({ listen: LOOPBACK, tokenFile }, folder);
    expect(await codeOf(open)).toBe('ERR_TOKEN');
    writeFileSync(tokenFile, 'long-enough-to-be-a-token\n');
    const { appliance } = await open();
    const url = `farpage://127.0.0.1:${appliance.doors.tcp?.port}`;
    expect(await codeOf(() => connect(url))).toBe('ERR_TOKEN');
    expect(await codeOf(() => connect(url, { token: 'another-one-of-some-length' }))).toBe(
      'ERR_TOKEN',
    );
    await connectClient(url, 'long-enough-to-be-a-token');
  });

  it('makes a token of its own where others can reach it', async () => {
    const { appliance } = await serveAppliance({ listen: { host: '0.0.0.0', port: 0 } });
    const { tcp, tokenPath } = appliance.doors;
    const { readFileSync, statSync } = await import('node:fs');
    expect(statSync(tokenPath!).mode & 0o777).toBe(0o600);
    const token = readFileSync(tokenPath!, 'utf8').trim();
    const url = `farpage://127.0.0.1:${tcp?.port}`;
    expect(await codeOf(() => connect(url))).toBe('ERR_TOKEN');
    const client = await connectClient(url, token);
    expect((await (await client.allocate({ size: 4096 })).read(0, 1)).length).toBe(1);
  });

  it('names files below --root only, and has no administrator', async () => {
    const root = scratch();
    patternFile(root, { length: 4096 });
    const outside = patternFile(scratch(), { length: 4096 });
    const { appliance } = await serveAppliance({ listen: LOOPBACK, root });
    await appliance.create({ name: 'mine', size: 4096 });
    const url = `farpage://127.0.0.1:${appliance.doors.tcp?.port}`;
    const client = await connectClient(url);
    expect(await codeOf(() => client.create({ name: 'o', file: outside }))).toBe(
      'ERR_OUTSIDE_ROOT',
    );
    const made = await client.create({ name: 'i', file: 'file.bin' });
    expect(made).toMatchObject({ size: 4096, file: { path: 'file.bin' } });
    expect((await client.regions()).find(({ name }) => name === 'i')?.file?.path).toBe('file.bin');
    expect((await (await client.attach('i')).stat()).file?.path).toBe('file.bin');
    expect(appliance.regions()[0]?.file?.path).toBe(join(root, 'file.bin'));
    expect(await codeOf(() => client.remove('mine'))).toBe('ERR_ACCESS');
    await client.remove('i');
    const address = { host: '127.0.0.1', port: appliance.doors.tcp!.port };
    using control = new ControlClient({ address });
    const open = () => control.call('export', { params: { region: 'mine' }, body: {} });
    expect(await codeOf(open)).toBe('ERR_ACCESS');
    const hidden = await client.allocate({ size: 4096 });
    const names = (await client.regions()).map(({ name }) => name);
    expect(names).toEqual(['mine']);
    expect((await hidden.stat()).name).toBe(hidden.name);
  });
});

/** Whether the kernel asks the peer of a connection of this local port after silence (proc(5)). */
function isAsked(port: number): boolean {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  const fields = lines.map((line) => line.trim().split(/\s+/));
  // State 1 is ESTABLISHED, timer 2 the one of keep-alive.
  return fields.some(([, at, , state, , timer]) => {
    return at?.endsWith(local) && state === '01' && timer?.startsWith('02:');
  });
}

it('holds a session over TCP for as long as the kernel of its client answers', async () => {
  const { appliance } = await serveAppliance({ listen: LOOPBACK });
  const port = appliance.doors.tcp?.port ?? 0;
  const realTime = () => {
    vi.useRealTimers();
  };
  onTestFinished(realTime);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  const client = await connectClient(`farpage://127.0.0.1:${port}`);
  const region = await client.allocate({ size: '64KiB' });
  await region.write(0, Buffer.from('mine'));
  while (!isAsked(port)) await sleep(5);
  for (let hour = 0; hour < 3; hour += 1) {
    vi.advanceTimersByTime(3_600_000);
    await sleep(20);
  }
  expect(Buffer.from(await region.read(0, 4)).toString()).toBe('mine');
});
