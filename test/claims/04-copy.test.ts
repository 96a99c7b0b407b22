import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PrefetchReply, RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { scratch } from '../helpers/scratch.js';
import { whenStopped } from '../helpers/threads.js';

const SIZE = 4 * 2 ** 20 + 100;

/** An appliance with a region `model` of random bytes, and where it is found. */
async function serveModel() {
  const folder = scratch();
  const bytes = randomBytes(SIZE);
  const file = join(folder, 'model');
  writeFileSync(file, bytes);
  const serve = await ServeProcess.start(folder);
  await serve.json(['create', 'model', '--file', file]);
  const url = `${serve.ready.control}?region=model`;
  return { folder, file, bytes, serve, url };
}

describe('promise 4: a region is a copy of one of a second appliance', () => {
  it('at once, by one-sided reads of what is touched; writes stay here', async () => {
    const model = await serveModel();
    const folder = scratch();
    const here = await ServeProcess.start(folder);
    const made = await here.json<RegionStat>(['create', 'copy', '--from', model.url]);
    expect(made).toMatchObject({ size: SIZE, access: 'read-write', fills: { read: 0 } });
    expect(made.from).toEqual({ url: model.url, connected: false, detached: false });

    const region = await (await connectClient(here.ready.control)).attach('copy');
    expect(
      Buffer.from(await region.read(2 ** 20, 10)).equals(
        model.bytes.subarray(2 ** 20, 2 ** 20 + 10),
      ),
    ).toBe(true);
    expect((await region.stat()).fills.read).toBe(1);
    expect(Buffer.from(await region.read(0, SIZE)).equals(model.bytes)).toBe(true);
    const { total } = made.pages;
    const reading = { url: model.url, connected: true, detached: false };
    expect((await region.stat()).from).toEqual({ ...reading, needed: total });

    await region.write(5000, Buffer.from('mine'));
    await region.sync();
    const source = await (await connectClient(model.serve.ready.control)).attach('model');
    expect(Buffer.from(await source.read(5000, 4)).equals(model.bytes.subarray(5000, 5004))).toBe(
      true,
    );

    // Both are killed. The copy comes back without its source, but only what was synced is here.
    await here.end('SIGKILL');
    await model.serve.end('SIGKILL');
    const again = await ServeProcess.start(folder);
    const back = await (await connectClient(again.ready.control)).attach('copy');
    expect(Buffer.from(await back.read(5000, 4)).toString()).toBe('mine');
    expect(await codeOf(() => back.read(2 ** 20, 1, { timeoutMs: 20_000 }))).toBe(
      'ERR_SOURCE_AWAY',
    );
    expect(Buffer.from(await back.read(5000, 4)).toString()).toBe('mine');

    // The source is back, and so is the rest.
    await ServeProcess.start(model.folder);
    expect(
      Buffer.from(await back.read(2 ** 20, 9)).equals(model.bytes.subarray(2 ** 20, 2 ** 20 + 9)),
    ).toBe(true);
  }, 60_000);

  it('until all of it was pulled: then the source may go, for good', async () => {
    const model = await serveModel();
    const folder = scratch();
    // Far less memory than the copy has bytes.
    const here = await ServeProcess.start(folder, ['--memory', '1MiB']);
    await here.json(['create', 'copy', '--from', model.url]);
    const region = await (await connectClient(here.ready.control)).attach('copy');
    await region.write(7000, Buffer.from('mine'));
    model.bytes.write('mine', 7000);
    const early = await here.run(['detach', 'copy']);
    expect([early.code, early.stderr]).toEqual([1, expect.stringContaining('ERR_SOURCE_NEEDED')]);

    const pulled = await here.json<PrefetchReply>(['prefetch', 'copy', '--wait']);
    const total = Math.ceil(SIZE / 4096);
    expect(pulled).toMatchObject({ state: 'done', pages: { total, passed: total } });
    expect((await region.stat()).from).toMatchObject({ needed: 0, detached: false });
    expect(await here.json(['detach', 'copy'])).toEqual({
      region: 'copy',
      detached: true,
      pages: total,
    });
    await model.serve.end('SIGKILL');
    expect(Buffer.from(await region.read(0, SIZE)).equals(model.bytes)).toBe(true);

    await here.end('SIGKILL');
    const again = await ServeProcess.start(folder, ['--memory', '1MiB']);
    const back = await (await connectClient(again.ready.control)).attach('copy');
    expect(Buffer.from(await back.read(0, SIZE)).equals(model.bytes)).toBe(true);
    expect((await back.stat()).from).toMatchObject({ needed: 0, detached: true, connected: false });
  }, 60_000);

  it('and another region in its place is noticed, for the pages that are not here', async () => {
    const model = await serveModel();
    const here = await ServeProcess.start(scratch());
    await here.json(['create', 'copy', '--from', model.url]);
    const region = await (await connectClient(here.ready.control)).attach('copy');
    await region.read(0, 1);
    await model.serve.json(['rm', 'model']);
    const gone = await codeOf(() => region.read(2 ** 20, 1));
    expect(gone).toBe('ERR_SOURCE_CHANGED');
    // Another size; and another file of the same size.
    await model.serve.json(['create', 'model', '--size', '8MiB']);
    expect(await codeOf(() => region.read(2 ** 20, 1))).toBe('ERR_SOURCE_CHANGED');
    await model.serve.json(['rm', 'model']);
    const other = join(model.folder, 'other');
    writeFileSync(other, randomBytes(SIZE));
    await model.serve.json(['create', 'model', '--file', other]);
    expect(await codeOf(() => region.read(2 ** 20, 1))).toBe('ERR_SOURCE_CHANGED');
    await model.serve.json(['rm', 'model']);
    await model.serve.json(['create', 'model', '--size', '8MiB']);
    expect(Buffer.from(await region.read(0, 1))[0]).toBe(model.bytes[0]);
    await model.serve.json(['rm', 'model']);
    await model.serve.json(['create', 'model', '--file', model.file]);
    expect(Buffer.from(await region.read(2 ** 20, 1))[0]).toBe(model.bytes[2 ** 20]);
  }, 60_000);

  it('which a slow source delays by no more than its deadline', async () => {
    const model = await serveModel();
    const here = await ServeProcess.start(scratch());
    await here.json(['create', 'copy', '--from', model.url]);
    const region = await (await connectClient(here.ready.control)).attach('copy');
    await region.read(0, 1);
    const { pid } = model.serve.ready;
    process.kill(pid, 'SIGSTOP');
    try {
      await whenStopped(pid);
      const late = codeOf(() => region.read(2 ** 20, 1, { timeoutMs: 20_000 }));
      expect(Buffer.from(await region.read(0, 1))[0]).toBe(model.bytes[0]);
      expect(await late).toBe('ERR_TIMEOUT');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(Buffer.from(await region.read(2 ** 20, 1))[0]).toBe(model.bytes[2 ** 20]);
  }, 60_000);

  it('of those that exist, and over TCP of those that --allow-url names', async () => {
    const model = await serveModel();
    const below = model.url.slice(0, model.url.indexOf('?'));
    const tcp = ['--listen', '127.0.0.1:0'];
    const here = await ServeProcess.start(scratch(), [...tcp, '--allow-url', below]);
    const other = await ServeProcess.start(scratch(), tcp);
    const create = (serve: ServeProcess, url: string) =>
      serve.run(['create', 'copy', '--from', url, '--appliance', serve.ready.tcp ?? '']);
    expect((await create(other, model.url)).stderr).toContain('ERR_URL_NOT_ALLOWED');
    expect((await create(here, `${below}x?region=model`)).stderr).toContain('ERR_URL_NOT_ALLOWED');
    expect((await create(here, model.url)).code).toBe(0);
    const missing = await here.run(['create', 'b', '--from', `${below}?region=none`]);
    expect(missing.stderr).toContain('ERR_NO_SUCH_REGION');
    const nobody = await here.run(['create', 'c', '--from', 'farpage+unix:/nowhere?region=r']);
    expect(nobody.stderr).toContain('ERR_SOURCE_AWAY');
    expect((await here.run(['create', 'd', '--from', below])).stderr).toContain('ERR_ARGUMENT');
  }, 60_000);
});
