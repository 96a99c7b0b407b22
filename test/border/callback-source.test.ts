/** Pages that JavaScript supplies, at the border: what it may do wrong, and when it is too late. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import type { QueuePair } from '../../src/fabric/queue-pair.js';
import type { PageRequest } from '../../src/native/binding.js';
import { native } from '../../src/native/load.js';
import { codeOf } from '../helpers/codes.js';
import { FabricFixture } from '../helpers/fabric-fixture.js';
import { scratch } from '../helpers/scratch.js';

const LENGTH = 64 * 4096 - 100;

/** A region whose pages this test supplies; `next` waits for requests. */
class Supplied extends FabricFixture {
  readonly rings: () => number;
  readonly #waiting: PageRequest[] = [];

  constructor(options: { timeoutMs?: number } = {}) {
    let rings = 0;
    super({
      lengthBytes: LENGTH,
      source: {
        kind: 'callback',
        lengthBytes: LENGTH,
        takesWrites: true,
        timeoutMs: options.timeoutMs ?? 20_000,
        requestsMax: 4,
        ring: () => {
          rings += 1;
        },
      },
    });
    this.rings = () => rings;
  }

  async next(): Promise<PageRequest> {
    await expect
      .poll(() => {
        this.#waiting.push(...native().regionTakeRequests(this.region));
        return this.#waiting.length;
      })
      .toBeGreaterThan(0);
    return this.#waiting.shift()!;
  }

  answer(id: unknown, bytes?: unknown): boolean {
    return native().regionAnswerRequest(this.region, id as number, bytes as Uint8Array);
  }

  /** Begins to read a byte of a page, over a connection of its own. */
  async read(page: number): Promise<{ pair: QueuePair; code: Promise<string> }> {
    const pair = await this.connect('unix');
    const read = pair.read({ stag: this.stag, offset: page * 4096, length: 1 });
    return { pair, code: codeOf(() => read) };
  }
}

const page = (request: PageRequest, value = 7) => new Uint8Array(request.length).fill(value);

describe('pages that JavaScript supplies', () => {
  it('are asked for in bytes, with what is left of the deadline, after one ring', async () => {
    await using supplied = new Supplied();
    expect(native().regionTakeRequests(supplied.region)).toEqual([]);
    const { code } = await supplied.read(63);
    await expect.poll(supplied.rings).toBe(1);
    const request = await supplied.next();
    expect(request).toMatchObject({ offset: 63 * 4096, length: 4096 - 100 });
    expect(request.bytes).toBeUndefined();
    expect(request.remainingMs).toBeGreaterThan(1000);
    expect(request.remainingMs).toBeLessThanOrEqual(20_000);
    expect(supplied.answer(request.id, page(request))).toBe(true);
    expect(await code).toBe('nothing');
    expect(supplied.rings()).toBe(1);
    expect(native().regionStats(supplied.region).readPages).toBe(1);
  });

  it.each<[string, (length: number) => unknown]>([
    ['one byte less', (length) => new Uint8Array(length - 1)],
    ['one byte more', (length) => new Uint8Array(length + 1)],
    ['other elements', (length) => new Float64Array(length / 8)],
    ['an array', (length) => new Array(length).fill(0)],
    ['nothing', () => undefined],
    [
      'memory that went elsewhere',
      (length) => {
        const bytes = new Uint8Array(length);
        structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
        return bytes;
      },
    ],
  ])('are not taken from an answer with %s', async (_, bytesOf) => {
    await using supplied = new Supplied();
    const { code } = await supplied.read(1);
    const request = await supplied.next();
    expect(supplied.answer(request.id, bytesOf(request.length))).toBe(true);
    expect(await code).toBe('ERR_INTERNAL');
    const again = await supplied.read(1);
    const second = await supplied.next();
    supplied.answer(second.id, page(second));
    expect(await again.code).toBe('nothing');
  });

  it('are answered once, and by their own number', async () => {
    await using supplied = new Supplied();
    const { pair, code } = await supplied.read(1);
    const { id, length } = await supplied.next();
    for (const wrong of [0, -1, 1.5 + id, Number.NaN, 2 ** 60, 'x', undefined, null, {}]) {
      expect(supplied.answer(wrong, new Uint8Array(length))).toBe(false);
    }
    expect(supplied.answer(id, new Uint8Array(length).fill(7))).toBe(true);
    expect(await code).toBe('nothing');
    expect(supplied.answer(id, new Uint8Array(length).fill(9))).toBe(false);
    expect(native().regionRefuseRequest(supplied.region, id, 'ERR_IO')).toBe(false);
    const bytes = await pair.read({ stag: supplied.stag, offset: 4096, length: 1 });
    expect(bytes[0]).toBe(7);
  });

  it.each([
    ['ERR_SOURCE_CHANGED', 'ERR_SOURCE_CHANGED'],
    ['ERR_TOKEN', 'ERR_IO'],
    ['nonsense', 'ERR_IO'],
    ['OK', 'ERR_IO'],
    ['ERR_CONNECTION', 'ERR_SOURCE_AWAY'],
  ])('fail with %s as %s', async (code, told) => {
    await using supplied = new Supplied();
    const reading = await supplied.read(1);
    const { id } = await supplied.next();
    expect(native().regionRefuseRequest(supplied.region, id, code)).toBe(true);
    expect(await reading.code).toBe(told);
  });

  it('come to nothing after the deadline', async () => {
    await using supplied = new Supplied({ timeoutMs: 60 });
    const { code } = await supplied.read(1);
    const late = await supplied.next();
    expect(await code).toBe('ERR_TIMEOUT');
    expect(supplied.answer(late.id, page(late, 9))).toBe(true);
    expect(native().regionStats(supplied.region).presentPages).toBe(0);
    expect(supplied.answer(late.id, page(late, 9))).toBe(false);
  });

  it('come to nothing once the region is closed', async () => {
    await using supplied = new Supplied();
    const { code } = await supplied.read(1);
    const late = await supplied.next();
    native().regionClose(supplied.region);
    expect(await code).toBe('ERR_REGION_REMOVED');
    expect(supplied.answer(late.id, page(late))).toBe(false);
    expect(native().regionRefuseRequest(supplied.region, late.id, 'ERR_IO')).toBe(false);
    expect(native().regionTakeRequests(supplied.region)).toEqual([]);
  });

  it('are taken as a copy', async () => {
    await using supplied = new Supplied();
    const pair = await supplied.connect('unix');
    const at = { stag: supplied.stag, offset: 8192 };
    const writing = pair.write({ ...at, bytes: Buffer.from('mine') });
    const fill = await supplied.next();
    supplied.answer(fill.id, page(fill));
    await writing;
    const whole = { offset: 0, lengthBytes: LENGTH, durable: true };
    await pair.read({ ...at, length: 1 });
    const sync = native().regionWriteBack(supplied.region, whole);
    const request = await supplied.next();
    expect(request).toMatchObject({ offset: 8192, length: 4096 });
    expect(Buffer.from(request.bytes!.subarray(0, 5)).toString()).toBe('mine\x07');
    request.bytes!.fill(0xff);
    expect(supplied.answer(request.id)).toBe(true);
    expect((await sync).pagesWritten).toBe(1);
    expect(Buffer.from(await pair.read({ ...at, length: 4 })).toString()).toBe('mine');
  });
});

it('lets go of the function that is rung once the region is closed', async () => {
  const pager = native().pagerOpen({ memoryBytes: 2 ** 20, fillThreads: 1, readAheadBytes: 0 });
  const open = () => {
    const ring = () => {};
    const region = native().regionOpenStaged(pager, {
      lengthBytes: 4096,
      access: 'read-only',
      residentBytes: 0,
      source: {
        kind: 'callback',
        lengthBytes: 4096,
        takesWrites: false,
        timeoutMs: 1000,
        requestsMax: 1,
        ring,
      },
    });
    native().regionClose(region);
    return new WeakRef(ring);
  };
  const refs = [open(), open(), open()];
  await expect
    .poll(() => {
      globalThis.gc?.();
      return refs.filter((ref) => ref.deref() !== undefined).length;
    })
    .toBe(0);
  native().pagerClose(pager);
});

it('serves a worker that is terminated while pages are to be supplied and taken', async () => {
  const library = new URL('../../dist/index.js', import.meta.url).href;
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { Appliance, connect } = await import(workerData.library);
      const appliance = await Appliance.open(workerData.options);
      const pending = new Set(['fill', 'writeBack']);
      const never = (what) => new Promise(() => {
        if (pending.delete(what) && pending.size === 0) parentPort.postMessage('ready');
      });
      await appliance.create({ name: 'c', size: 65536, source: {
        fill: async ({ offset }, into) => { if (offset !== 0) await never('fill'); },
        writeBack: () => never('writeBack'),
      } });
      const client = await connect('farpage+unix:' + workerData.options.socket);
      const region = await client.attach('c');
      await region.write(0, Buffer.from('x'));
      region.sync().catch(() => {});
      await region.read(32768, 1);
    })();`;
  for (let round = 0; round < 3; round += 1) {
    const folder = scratch();
    const options = { socket: join(folder, 's'), stateDirectory: join(folder, 'state') };
    const worker = new Worker(code, { eval: true, workerData: { library, options } });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    expect(await worker.terminate()).toBe(1);
  }
});
