/** Clients whose appliance dies and comes back: what they had begun, and what they are told. */
import { once } from 'node:events';
import { get } from 'node:http';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { parseUrl } from '../../src/control/address.js';
import { ControlClient } from '../../src/control/http-client.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { CountingProxy } from '../helpers/counting-proxy.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 32 * 2 ** 20;
/** More than there are slots. */
const MANY = 3000;
/** Of them on the wire at most. */
const DEPTH = 128;

async function serveFile(length = LENGTH) {
  const folder = scratch();
  const file = patternFile(folder, { length });
  const words = [`r=${file}`];
  const serve = await ServeProcess.start(folder, words);
  const client = await connectClient(serve.ready.control);
  const region = await client.attach('r');
  await region.read(0, 1);
  return { serve, client, region, again: async () => await ServeProcess.start(folder, words) };
}

async function metricsAt(url: string): Promise<string> {
  const socketPath = url.replace('farpage+unix:', '');
  const [answer] = (await once(get({ socketPath, path: '/metrics' }), 'response')) as [Readable];
  return await text(answer);
}

/** Kills it and lets the client notice. */
async function die({ serve, region }: Awaited<ReturnType<typeof serveFile>>) {
  await serve.end('SIGKILL');
  expect(await codeOf(() => region.read(0, 1, { timeoutMs: 50 }))).toBe('ERR_TIMEOUT');
}

it('a fence waits for writes that wait for a connection', async () => {
  const served = await serveFile();
  const { region } = served;
  await die(served);
  const ends: string[] = [];
  const write = region.write(4096, Buffer.from('begun')).then(() => ends.push('write'));
  const fence = region.fence().then(() => ends.push('fence'));
  await sleep(50);
  expect(ends).toEqual([]);
  await served.again();
  await Promise.all([write, fence]);
  expect(ends).toEqual(['write', 'fence']);
  const late = region.write(8192, Buffer.from('begun'));
  expect(await region.sync()).toMatchObject({ durable: true });
  await late;
  expect((await region.stat()).pages.dirty).toBe(0);
});

it('a fence tells that a write which it waited for has failed', async () => {
  const served = await serveFile();
  const { region } = served;
  await die(served);
  const bounds = { timeoutMs: 80 };
  const write = codeOf(() => region.write(4096, Buffer.from('late'), bounds));
  const fence = codeOf(() => region.fence());
  expect(await write).toBe('ERR_TIMEOUT');
  expect(await fence).toBe('ERR_TIMEOUT');
});

it('a sync has all of a long write that was begun before it', async () => {
  const { region } = await serveFile();
  const write = region.write(0, patternOf(LENGTH, 1));
  const { pagesWritten } = await region.sync();
  expect(pagesWritten).toBe(LENGTH / 4096);
  await write;
  expect((await region.stat()).pages.dirty).toBe(0);
});

it('nothing of a wait that ended early is left behind to end the program', async () => {
  const served = await serveFile();
  const { region } = served;
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  onTestFinished(() => void process.off('unhandledRejection', note));
  await die(served);
  const signal = AbortSignal.abort();
  expect(await codeOf(() => region.read(0, 8, { signal }))).toBe('ERR_ABORTED');
  expect(await codeOf(() => region.read(0, 8, { timeoutMs: 0.0001 }))).toBe('ERR_TIMEOUT');
  // Until the tries to connect are over.
  expect(await codeOf(() => region.read(0, 8))).toBe('ERR_NO_APPLIANCE');
  await sleep(20);
  expect(unhandled).toEqual([]);
});

it.each(['sync', 'flush', 'fence'] as const)(
  '%s after a restart while idle is done',
  async (name) => {
    const served = await serveFile();
    const { region } = served;
    await region.write(0, Buffer.from('x'));
    await region.sync();
    await served.serve.end('SIGKILL');
    await served.again();
    expect(await codeOf(async () => await region[name]())).toBe('nothing');
  },
);

it('what was never sent is repeated, however much it was', async () => {
  const served = await serveFile();
  const { serve, region } = served;
  serve.child.kill('SIGSTOP');
  const all = Array.from({ length: MANY }, (_, at) =>
    codeOf(() => (at % 2 === 0 ? region.read(at * 8, 8) : region.fetchAdd(LENGTH - 8, 1n))),
  );
  await sleep(20);
  await serve.end('SIGKILL');
  await served.again();
  const codes = await Promise.all(all);
  const unknown = codes.filter((code) => code === 'ERR_OUTCOME_UNKNOWN').length;
  expect(codes.filter((code) => code === 'nothing')).toHaveLength(MANY - unknown);
  expect(unknown).toBeLessThanOrEqual(DEPTH);
});

it('calls that find the session ended at the same time open one new session', async () => {
  const served = await serveFile();
  const { client, region } = served;
  const names = Array.from({ length: 6 }, (_, n) => `m${n}`);
  for (const name of names) await client.create({ name, size: 4096, persist: true });
  let { serve } = served;
  for (let round = 0; round < 4; round += 1) {
    await serve.end('SIGKILL');
    serve = await served.again();
    const regions = await Promise.all([
      ...names.map((name) => client.attach(name)),
      region.read(0, 8).then(() => region),
      client.allocate({ size: 4096 }),
      region.sync().then(() => region),
    ]);
    for (const each of regions) expect(await codeOf(() => each.read(0, 8))).toBe('nothing');
    expect(await metricsAt(serve.ready.control)).toMatch(/^farpage_sessions 1$/m);
  }
});

it('a sync tells once that a restart has lost writes, and not where it has not', async () => {
  const served = await serveFile();
  const { client, region } = served;
  const other = await client.attach(
    (await client.create({ name: 'k', size: 8192, persist: true })).name,
  );
  await other.write(0, Buffer.from('kept'));
  expect(await client.sync([other])).toMatchObject([{ durable: true }]);
  await region.write(0, Buffer.from('first'));
  await served.serve.end('SIGKILL');
  await served.again();
  await region.write(4096, Buffer.from('second'));
  await other.write(4096, Buffer.from('more'));
  const lost = region.sync();
  await expect(lost).rejects.toMatchObject({ code: 'ERR_WRITES_LOST' });
  await expect(lost).rejects.toThrow('what was written to r after sync 0');
  expect((await region.sync()).pagesWritten).toBe(1);
  expect((await other.sync()).pagesWritten).toBe(1);
  expect(await codeOf(() => client.sync([region, other]))).toBe('nothing');
});

it('a session that ended casts no doubt on what its appliance still has', async () => {
  const folder = scratch();
  const words = [`r=${patternFile(folder, { length: 8192 })}`, '--listen', '127.0.0.1:0'];
  const first = await ServeProcess.start(folder, words);
  const before = await (await connectClient(first.ready.control)).attach('r');
  await before.write(0, Buffer.from('lost'));
  await first.end('SIGKILL');
  const { ready } = await ServeProcess.start(folder, words);
  const { port } = new URL((ready.tcp ?? '').replace('farpage:', 'http:'));
  const control = { host: '127.0.0.1', port: Number(port) };
  const proxy = await CountingProxy.start({ control, fabric: ready.fabric.tcp! });
  const region = await (await connectClient(proxy.url)).attach('r');
  expect((await region.receipt()).lostSince).toBe(0);
  await region.write(4096, Buffer.from('here'));
  const [session = ''] = proxy.sessions;
  using direct = new ControlClient({ address: parseUrl(ready.control).address });
  await direct.call('closeSession', { params: { session } });
  expect((await region.sync()).pagesWritten).toBe(1);
  expect(proxy.sessions.size).toBe(2);
});
