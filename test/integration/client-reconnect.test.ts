import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/client/client.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { CountingProxy } from '../helpers/counting-proxy.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

describe('a connection that is lost', () => {
  async function behindProxy() {
    const { appliance } = await serveAppliance({ listen: LOOPBACK });
    const { tcp, fabric } = appliance.doors;
    const proxy = await CountingProxy.start({ control: tcp!, fabric: fabric.tcp! });
    const client = await connectClient(proxy.url);
    return { proxy, client, region: await client.allocate({ name: 'r', size: '1MiB' }) };
  }

  it('is made again, with reads repeated and the session kept', async () => {
    const { proxy, client, region } = await behindProxy();
    await region.write(0, patternOf(4096));
    for (let round = 1; round <= 3; round += 1) {
      proxy.cut();
      const reads = Array.from({ length: 40 }, (_, at) => region.read(at * 100, 100));
      const found = Buffer.concat(await Promise.all(reads));
      expect(Buffer.compare(found, patternOf(4096).subarray(0, 4000))).toBe(0);
      expect(client.connections).toBe(1 + round);
    }
  });

  it('ends every operation in flight, however often it is cut', async () => {
    const { proxy, region } = await behindProxy();
    const adds: Promise<string>[] = [];
    for (let round = 0; round < 20; round += 1) {
      for (let at = 0; at < 50; at += 1) adds.push(codeOf(() => region.fetchAdd(0, 1n)));
      await sleep(5);
      proxy.cut();
    }
    const codes = await Promise.all(adds);
    const done = codes.filter((code) => code === 'nothing').length;
    const unknown = codes.filter((code) => code === 'ERR_OUTCOME_UNKNOWN').length;
    // Nothing else may come of it, and what is said to be done is done exactly once.
    expect(done + unknown).toBe(1000);
    // A read, because that is repeated if the last cut meets it, too.
    const counted = Number(Buffer.from(await region.read(0, 8)).readBigUInt64LE());
    expect(counted).toBeGreaterThanOrEqual(done);
    expect(counted).toBeLessThanOrEqual(done + unknown);
  });

  it('does not spoil other operations when one is refused', async () => {
    const { url, appliance } = await serveAppliance();
    await appliance.create({ name: 'r', size: 4096 });
    const client = await connectClient(url);
    const [good, gone] = [await client.attach('r'), await client.allocate({ size: 4096 })];
    await client.remove(gone.name);
    const mixed = Array.from({ length: 60 }, (_, at) =>
      codeOf(() => (at % 20 === 7 ? gone : good).read(0, 8)),
    );
    const codes = await Promise.all(mixed);
    expect(codes.filter((code) => code === 'nothing')).toHaveLength(57);
    expect(codes.filter((code) => code === 'ERR_REGION_REMOVED')).toHaveLength(3);
  });
});

describe('a ticket', () => {
  const NONE = '0'.repeat(32);

  /** Connects through a proxy that alters what the appliance says; how many tickets that took. */
  async function connectAltered(alter: (body: string) => string) {
    const { appliance } = await serveAppliance({ listen: LOOPBACK });
    const { tcp, fabric } = appliance.doors;
    const proxy = await CountingProxy.start({ control: tcp!, fabric: fabric.tcp! });
    proxy.alter = alter;
    const code = await codeOf(async () => {
      const region = await (await connectClient(proxy.url)).allocate({ size: 4096, fill: 'one' });
      expect([...(await region.read(0, 2))]).toEqual([255, 255]);
    });
    return { code, tickets: proxy.tickets };
  }

  it('that came with the session is used, and no other asked for', async () => {
    expect(await connectAltered((body) => body)).toEqual({ code: 'nothing', tickets: 0 });
  });

  it('that may be old by now is not shown: another one is asked for', async () => {
    const short = (body: string) => body.replace('"ticketMs":30000', '"ticketMs":0');
    expect(await connectAltered(short)).toEqual({ code: 'nothing', tickets: 1 });
  });

  it('that the appliance does not know any more is replaced, once', async () => {
    let asked = 0;
    const first = (body: string) =>
      body.replace(/"ticket":"[0-9a-f]{32}"/, (found) => {
        asked += 1;
        return asked === 1 ? `"ticket":"${NONE}"` : found;
      });
    expect(await connectAltered(first)).toEqual({ code: 'nothing', tickets: 1 });
    const all = (body: string) => body.replace(/"ticket":"[0-9a-f]{32}"/, `"ticket":"${NONE}"`);
    expect(await connectAltered(all)).toEqual({ code: 'ERR_TICKET', tickets: 1 });
  });
});

describe('an appliance that is killed', () => {
  it('leaves its clients an error in time, and serves them when it is back', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 2 ** 20 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const client = await connectClient(serve.ready.control);
    const region = await client.attach('r');
    await region.write(0, Buffer.from('synced'));
    await region.sync();
    await region.write(8192, Buffer.from('not yet'));
    await serve.end('SIGKILL');
    const began = performance.now();
    const codes = await Promise.all([
      codeOf(() => region.read(0, 10, { timeoutMs: 3000 })),
      codeOf(() => region.write(0, Buffer.from('x'), { timeoutMs: 3000 })),
      codeOf(() => region.sync({ timeoutMs: 3000 })),
    ]);
    for (const code of codes) {
      expect(['ERR_NO_APPLIANCE', 'ERR_CONNECTION', 'ERR_OUTCOME_UNKNOWN']).toContain(code);
    }
    expect(performance.now() - began).toBeLessThan(6000);
    await ServeProcess.start(folder, [`r=${file}`]);
    expect(Buffer.from(await region.read(0, 6)).toString()).toBe('synced');
    expect(Buffer.compare(await region.read(8192, 7), patternOf(8199).subarray(8192))).toBe(0);
    await region.write(8192, Buffer.from('now'));
    // What was not yet synced is gone, and that is said once.
    expect(await codeOf(() => region.sync())).toBe('ERR_WRITES_LOST');
    expect((await region.sync()).pagesWritten).toBe(1);
    expect(await codeOf(() => region.readSync(0, 1))).toBe('nothing');
  });
});

describe('limits', () => {
  it('end an operation by deadline or signal, also while a connection is re-made', async () => {
    const served = await serveAppliance();
    const client = await connectClient(served.url);
    const region = await client.allocate({ name: 'r', size: 4096 });
    const signal = AbortSignal.abort();
    expect(await codeOf(() => region.read(0, 1, { signal }))).toBe('ERR_ABORTED');
    await served.appliance.close({ sync: false });
    expect(await codeOf(() => region.read(0, 1, { timeoutMs: 60 }))).toBe('ERR_TIMEOUT');
    const soon = AbortSignal.timeout(30);
    expect(await codeOf(() => region.read(0, 1, { signal: soon }))).toBe('ERR_ABORTED');
    await client.close();
    await client.close();
    expect(await codeOf(() => region.read(0, 1))).toBe('ERR_CLOSED');
    expect(await codeOf(() => connect(served.url))).toBe('ERR_NO_APPLIANCE');
  });

  it('may be one signal for many operations, without a warning', async () => {
    const region = await (await connectClient((await serveAppliance()).url)).allocate({
      size: 4096,
    });
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    onTestFinished(() => void process.off('warning', note));
    const { signal } = new AbortController();
    const reads = Array.from({ length: 40 }, () => region.read(0, 8, { signal }));
    expect(await Promise.all(reads)).toHaveLength(40);
    await sleep(5);
    expect(warnings).toEqual([]);
  });
});
