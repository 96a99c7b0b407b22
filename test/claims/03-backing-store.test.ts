import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import type { PageSpan } from '../../src/index.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternOf, scratch } from '../helpers/scratch.js';
import { WebServer } from '../helpers/web-server.js';

const SIZE = 4 * 2 ** 20 + 100;

describe('promise 3: initialisation copies from a backing store', () => {
  it('behind HTTP, at once and where it is touched; writes stay here, over restarts', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    const made = await serve.json<RegionStat>(['create', 'web', '--from', server.url()]);
    expect(made).toMatchObject({ size: SIZE, access: 'read-write', fills: { read: 0 } });
    expect(made.from).toMatchObject({ url: server.url(), connected: false });
    const region = await (await connectClient(serve.ready.control)).attach('web');
    expect(Buffer.from(await region.read(2 ** 20, 10))).toEqual(
      server.bytes.subarray(2 ** 20, 2 ** 20 + 10),
    );
    expect((await region.stat()).fills.read).toBe(1);
    expect(Buffer.from(await region.read(0, SIZE)).equals(server.bytes)).toBe(true);
    expect((await region.stat()).from).toMatchObject({ url: server.url(), connected: true });
    await region.write(5000, Buffer.from('mine'));
    await region.sync();
    expect(server.asked.every(({ headers }) => headers['content-length'] === undefined)).toBe(true);

    await serve.end('SIGKILL');
    await server.stop();
    const again = await ServeProcess.start(folder);
    const back = await (await connectClient(again.ready.control)).attach('web');
    expect(Buffer.from(await back.read(5000, 4)).toString()).toBe('mine');
    expect(await codeOf(() => back.read(2 ** 20, 1))).toBe('ERR_SOURCE_AWAY');
    expect(Buffer.from(await back.read(5000, 4)).toString()).toBe('mine');
    await server.listen();
    expect(Buffer.from(await back.read(2 ** 20, 9))).toEqual(
      server.bytes.subarray(2 ** 20, 2 ** 20 + 9),
    );
    // Another version is noticed, for the pages that are not here.
    server.etag = '"another"';
    expect(await codeOf(() => back.read(3 * 2 ** 20, 1))).toBe('ERR_SOURCE_CHANGED');
    expect(Buffer.from(await back.read(5000, 4)).toString()).toBe('mine');
  });

  it('that functions of the program are, for what is touched and what is dirty', async () => {
    const { appliance, url } = await serveAppliance();
    const store = patternOf(SIZE);
    const filled: PageSpan[] = [];
    const written: PageSpan[] = [];
    const made = await appliance.create({
      name: 'mine',
      size: SIZE,
      source: {
        fill: async (pages, into) => {
          filled.push(pages);
          into.set(store.subarray(pages.offset, pages.offset + pages.length));
        },
        writeBack: async (pages, from) => {
          written.push(pages);
          store.set(from, pages.offset);
        },
      },
    });
    expect(made).toMatchObject({ size: SIZE, access: 'read-write', fills: { pages: 0 } });
    const region = await (await connectClient(url)).attach('mine');
    expect(Buffer.from(await region.read(2 ** 20, 10))).toEqual(
      store.subarray(2 ** 20, 2 ** 20 + 10),
    );
    expect(filled).toEqual([{ offset: 2 ** 20, length: 4096 }]);
    const old = Buffer.from(store);
    expect(Buffer.from(await region.read(0, SIZE)).equals(old)).toBe(true);
    expect(filled.at(-1)!.offset + filled.at(-1)!.length).toBeLessThanOrEqual(SIZE);

    await region.write(SIZE - 3, Buffer.from('end'));
    await region.write(8192, Buffer.from('here'));
    expect(store.equals(old)).toBe(true);
    expect((await region.sync()).pagesWritten).toBe(2);
    expect(written).toEqual([
      { offset: 8192, length: 4096 },
      { offset: 4 * 2 ** 20, length: 100 },
    ]);
    old.write('here', 8192);
    old.write('end', SIZE - 3);
    expect(store.equals(old)).toBe(true);
  });

  it('and operations on other pages go on while the store takes its time', async () => {
    const { appliance, url } = await serveAppliance();
    const asked = new EventTarget();
    let answer = () => {};
    await appliance.create({
      name: 'slow',
      size: 2 ** 20,
      source: {
        fill: async ({ offset }, into) => {
          into.fill(offset / 4096 + 1);
          if (offset === 0) return;
          asked.dispatchEvent(new Event('asked'));
          await new Promise<void>((resolve) => {
            answer = resolve;
          });
        },
      },
    });
    const region = await (await connectClient(url)).attach('slow');
    expect((await region.read(0, 1))[0]).toBe(1);
    const waits = once(asked, 'asked');
    const late = region.read(4096 * 9, 1);
    await waits;
    const other = await (await connectClient(url)).attach('slow');
    for (let n = 0; n < 100; n++) expect((await other.read(0, 1))[0]).toBe(1);
    answer();
    expect((await late)[0]).toBe(10);
  });
});
