/** Regions whose pages functions of the program supply, and take. */
import { describe, expect, it } from 'vitest';
import { FarpageError, type RegionSource } from '../../src/index.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { memoryFolder } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const SIZE = 4 * 2 ** 20;
const PAGE = 4096;

const byteOf = (offset: number) => ((offset / PAGE) % 250) + 1;

function supply(offset: number, into: Uint8Array): void {
  for (let at = 0; at < into.length; at += PAGE) into.fill(byteOf(offset + at), at, at + PAGE);
}

const plain: RegionSource = { fill: async ({ offset }, into) => supply(offset, into) };

async function serve(source: RegionSource, options = {}) {
  const served = await serveAppliance(options);
  await served.appliance.create({ name: 'c', size: SIZE, source });
  const attach = async () => (await connectClient(served.url)).attach('c');
  return { ...served, attach, region: await attach() };
}

const statOf = ({ appliance }: Awaited<ReturnType<typeof serve>>) =>
  appliance.regions().find(({ name }) => name === 'c')!;

describe('fill', () => {
  it('that fails fails what needs it, with its code, and only while it does', async () => {
    let failure: unknown;
    const served = await serve({
      fill: async ({ offset }, into) => {
        if (offset !== 0 && failure !== undefined) throw failure;
        supply(offset, into);
      },
    });
    const { region } = served;
    await region.read(0, 1);
    failure = new FarpageError('ERR_FILE_ACCESS', 'the vault is locked');
    expect(await codeOf(() => region.read(PAGE, 1))).toBe('ERR_FILE_ACCESS');
    expect(statOf(served).error).toMatchObject({ code: 'ERR_FILE_ACCESS' });
    failure = new TypeError('cannot read properties of undefined');
    expect(await codeOf(() => region.read(PAGE, 1))).toBe('ERR_IO');
    const { error, state } = statOf(served);
    expect(error?.message).toContain('cannot read properties of undefined');
    expect(state).toBe('ready');
    failure = 'text';
    expect(await codeOf(() => region.read(PAGE, 1))).toBe('ERR_IO');
    expect((await region.read(0, 1))[0]).toBe(1);
    failure = undefined;
    expect((await region.read(PAGE, 1))[0]).toBe(2);
    expect(statOf(served).error).toBeUndefined();
  });

  it.each<[string, () => unknown]>([
    ['an object without a text', () => Object.create(null)],
    ['a symbol', () => Symbol('no')],
    [
      'an error whose message throws',
      () =>
        Object.defineProperty(new Error(), 'message', {
          get: () => {
            throw new TypeError('no message');
          },
        }),
    ],
    [
      'an error of a code that is none',
      () => Object.assign(new FarpageError('ERR_IO'), { code: 7 }),
    ],
  ])('that fails with %s fails its reads with ERR_IO, and the process goes on', async (_, make) => {
    const served = await serve({
      fill: async ({ offset }, into) => {
        if (offset !== 0) throw make();
        supply(offset, into);
      },
      timeoutMs: 20_000,
    });
    const { region } = served;
    expect(await codeOf(() => region.read(PAGE, 1))).toBe('ERR_IO');
    expect(statOf(served).error).toMatchObject({ code: 'ERR_IO' });
    expect((await region.read(0, 1))[0]).toBe(1);
  });

  it('that never ends costs its deadline, is told so, and takes nothing with it', async () => {
    const late: { into: Uint8Array; signal: AbortSignal }[] = [];
    const { region, attach } = await serve({
      fill: async ({ offset }, into, signal) => {
        supply(offset, into);
        if (offset !== PAGE || late.length > 0) return;
        late.push({ into, signal });
        await new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        });
      },
      timeoutMs: 300,
    });
    await region.read(0, 1);
    const waits = codeOf(() => region.read(PAGE, 1));
    const other = await attach();
    expect((await other.read(0, 1))[0]).toBe(1);
    expect(await waits).toBe('ERR_TIMEOUT');
    await expect.poll(() => late[0]?.signal.aborted).toBe(true);
    expect(late[0]?.signal.reason).toMatchObject({ code: 'ERR_TIMEOUT' });
    late[0]?.into.fill(0xff);
    expect((await other.read(PAGE, 1))[0]).toBe(2);
  });

  it('is not asked again, page by page, for those of a run that it was silent about', async () => {
    const asked: number[] = [];
    const { region } = await serve({
      fill: async ({ offset, length }, _, signal) => {
        asked.push(offset, length);
        await new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        });
      },
      timeoutMs: 300,
    });
    expect(await codeOf(() => region.read(0, 4 * PAGE))).toBe('ERR_TIMEOUT');
    expect(asked).toEqual([0, 4 * PAGE]);
  });

  it('may keep what it filled and write to it: the region has its own bytes', async () => {
    const kept: Uint8Array[] = [];
    const { region } = await serve({
      fill: async ({ offset }, into) => {
        supply(offset, into);
        kept.push(into);
      },
    });
    await region.read(0, 3 * PAGE);
    for (const into of kept) into.fill(0xff);
    const bytes = await region.read(0, 3 * PAGE);
    expect([bytes[0], bytes[PAGE], bytes[2 * PAGE]]).toEqual([1, 2, 3]);
  });

  it('is called for as many ranges at a time as it takes, for long ones in a stream', async () => {
    let underWay = 0;
    let most = 0;
    let calls = 0;
    const { region } = await serve({
      fill: async ({ offset }, into) => {
        calls += 1;
        underWay += 1;
        most = Math.max(most, underWay);
        await new Promise((resolve) => setTimeout(resolve, 5));
        supply(offset, into);
        underWay -= 1;
      },
      concurrency: 3,
    });
    const pages = Array.from({ length: 200 }, (_, n) => n * 5 * PAGE);
    const bytes = await Promise.all(pages.map((at) => region.read(at, 1)));
    expect(bytes.map(([byte]) => byte)).toEqual(pages.map(byteOf));
    expect(most).toBe(3);
    calls = 0;
    await region.reclaim();
    await region.read(0, SIZE);
    expect(calls).toBeLessThan(SIZE / PAGE / 8);
  });

  it('is called again for pages that went to make room', async () => {
    const { region } = await serve(plain, { memory: '1MiB' });
    for (let round = 0; round < 2; round++) {
      const bytes = await region.read(0, SIZE);
      for (let at = 0; at < SIZE; at += PAGE) expect(bytes[at]).toBe(byteOf(at));
    }
    expect((await region.stat()).fills.read).toBeGreaterThan(1500);
  });
});

describe('writeBack', () => {
  it('that fails leaves the pages dirty and fails the sync; later it takes them', async () => {
    let failure: Error | undefined = new FarpageError('ERR_NO_SPACE');
    const taken = new Map<number, number>();
    const served = await serve({
      ...plain,
      writeBack: async ({ offset }, from) => {
        if (failure !== undefined) throw failure;
        taken.set(offset, from[0] ?? 0);
      },
    });
    const { region } = served;
    await region.write(PAGE, new Uint8Array([99]));
    expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
    failure = new Error('the vault is full');
    expect(await codeOf(() => region.sync())).toBe('ERR_IO');
    // A fill that does well is no reason to forget why a page cannot be written.
    await region.read(5 * PAGE, 1);
    expect(statOf(served)).toMatchObject({
      pages: { dirty: 1 },
      error: {
        code: 'ERR_IO',
        message: expect.stringContaining('the vault is full; its dirty pages stay in memory'),
      },
    });
    failure = undefined;
    expect((await region.sync()).pagesWritten).toBe(1);
    expect(statOf(served).pages.dirty).toBe(0);
    expect(statOf(served).error).toBeUndefined();
    expect([...taken]).toEqual([[PAGE, 99]]);
  });

  it('takes what is dirty when the appliance closes', async () => {
    const taken: number[] = [];
    const { appliance, region } = await serve({
      ...plain,
      writeBack: async (_, from) => {
        taken.push(from[5] ?? 0);
      },
    });
    await region.write(5, new Uint8Array([42]));
    await appliance.close();
    expect(taken).toEqual([42]);
  });
});

describe('a region of functions', () => {
  it('is read-only where they take nothing', async () => {
    const { appliance, region } = await serve(plain);
    expect(await codeOf(() => region.write(0, new Uint8Array(1)))).toBe('ERR_ACCESS');
    expect(await codeOf(() => region.sync())).toBe('ERR_UNSUPPORTED');
    const create = (change: object) =>
      codeOf(() => appliance.create({ name: 'd', size: SIZE, source: plain, ...change }));
    expect(await create({ access: 'read-write' })).toBe('ERR_ARGUMENT');
    expect(await create({ source: {} })).toBe('ERR_ARGUMENT');
    expect(await create({ source: null })).toBe('ERR_ARGUMENT');
    expect(await create({ source: { ...plain, writeBack: 1 } })).toBe('ERR_ARGUMENT');
    expect(await create({ source: { ...plain, timeoutMs: 0 } })).toBe('ERR_ARGUMENT');
    expect(await create({ source: { ...plain, concurrency: 65 } })).toBe('ERR_ARGUMENT');
    expect(await create({ size: 0 })).toBe('ERR_ARGUMENT');
    expect(await create({ persist: true })).toBe('ERR_ARGUMENT');
    expect(await create({ fill: 'one' })).toBe('ERR_ARGUMENT');
    expect(await create({ name: '@abcdefabcdef' })).toBe('ERR_NAME');
    expect(await create({ name: 'c' })).toBe('ERR_REGION_EXISTS');
    expect(await create({})).toBe('nothing');
  });

  it('ends for its users, and aborts its calls, when it is removed', async () => {
    let signal: AbortSignal | undefined;
    const { region, control } = await serve({
      fill: async (_, __, given) => {
        signal = given;
        await new Promise(() => {});
      },
    });
    const reading = codeOf(() => region.read(0, 1));
    await expect.poll(() => signal).toBeDefined();
    await control.call('remove', { params: { region: 'c' }, query: {} });
    expect(await reading).toBe('ERR_REGION_REMOVED');
    expect(signal?.reason).toMatchObject({ code: 'ERR_REGION_REMOVED' });
  });

  it('is made again by the program after a restart', async () => {
    const folder = scratch();
    const memoryDirectory = memoryFolder();
    const first = await serveAppliance({ memoryDirectory }, folder);
    await first.appliance.create({ name: 'c', size: SIZE, source: plain });
    await (await (await connectClient(first.url)).attach('c')).read(0, 1);
    await first.appliance.close();
    const { appliance, url } = await serveAppliance({ memoryDirectory }, folder);
    expect(appliance.regions()).toEqual([]);
    await appliance.create({ name: 'c', size: SIZE, source: plain });
    const region = await (await connectClient(url)).attach('c');
    expect((await region.read(PAGE, 1))[0]).toBe(2);
  });
});
