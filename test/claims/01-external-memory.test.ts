import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { CountingProxy } from '../helpers/counting-proxy.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';
import { cpuByThread } from '../helpers/threads.js';

const READS = 100_000;
/** The scheduler's clock ticks that a thread may be charged with for having slept. */
const IDLE_NS_MAX = 30_000_000;

describe('promise 1: a region is lent as external primary memory', () => {
  it('is allocated over the network, and a slab of it without the network', async () => {
    const serve = await ServeProcess.start(scratch(), ['--listen', '127.0.0.1:0']);
    const { tcp = '', fabric } = serve.ready;
    const { hostname, port } = new URL(tcp);
    const control = { host: hostname, port: Number(port) };
    const proxy = await CountingProxy.start({ control, fabric: fabric.tcp! });
    const client = await connectClient(proxy.url);
    const before = { requests: proxy.requests, bytes: proxy.fabricBytes };
    const region = await client.allocate({ name: 'scratch', size: '1TiB', fill: 'zero' });
    expect(proxy.requests).toBe(before.requests + 1);
    const after = { requests: proxy.requests, bytes: proxy.fabricBytes };
    const slabs = Array.from({ length: 1000 }, () => region.allocate(64 * 1024));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect({ requests: proxy.requests, bytes: proxy.fabricBytes }).toEqual(after);
    const bytes = patternOf(500);
    await slabs[999]!.write(10, bytes);
    expect(Buffer.compare(await slabs[999]!.read(10, 500), bytes)).toBe(0);
    expect(proxy.fabricBytes).toBeGreaterThan(after.bytes + 1000);
    expect(proxy.requests).toBe(after.requests);
  });

  it('can be accessed before all of it is initialised, and only that much is', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8 * 2 ** 20 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const bytes = await region.read(5 * 2 ** 20 + 1, 100);
    expect(
      Buffer.compare(
        bytes,
        patternOf(8 * 2 ** 20)
          .subarray(5 * 2 ** 20 + 1)
          .subarray(0, 100),
      ),
    ).toBe(0);
    const stat = await region.stat();
    expect(stat.pages.present).toBeGreaterThanOrEqual(1);
    expect(stat.pages.present).toBeLessThan(stat.pages.total / 8);
    expect(stat.operations).toEqual({ bypassed: 0, faulted: 1, bytes: 100 });
  });

  it('is read without the processor where it is initialised', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 2 ** 20 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    await region.read(0, 2 ** 20);
    const { operations } = await serve.json<RegionStat>(['stat', 'r']);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = cpuByThread(serve.ready.pid);
    for (let done = 0; done < READS; done += 500) {
      const places = Array.from({ length: 500 }, (_, index) => ((done + index) * 4099) % 1_000_000);
      await Promise.all(places.map((offset) => region.read(offset, 64)));
    }
    const after = cpuByThread(serve.ready.pid);
    const grown = [...after].map(([name, ns]) => [name, ns - (before.get(name) ?? 0)] as const);
    const others = grown.filter(([name]) => !name.startsWith('nic-'));
    expect(others.filter(([, ns]) => ns > IDLE_NS_MAX)).toEqual([]);
    const nic = grown.filter(([name]) => name.startsWith('nic-'));
    expect(Math.max(...nic.map(([, ns]) => ns))).toBeGreaterThan(IDLE_NS_MAX);
    const stat = await serve.json<RegionStat>(['stat', 'r']);
    expect(stat.operations.bypassed).toBe(operations.bypassed + READS);
    expect(stat.operations.faulted).toBe(operations.faulted);
  });
});
