import { randomBytes } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PrefetchReply, RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { scratch } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const PAGES = MIB / 4096;

/** An appliance of this process with a region `model` of random bytes. */
async function serveModel(size = MIB) {
  const source = await serveAppliance();
  const bytes = randomBytes(size);
  const file = join(source.folder, 'model');
  writeFileSync(file, bytes);
  await source.appliance.create({ name: 'model', file });
  return { ...source, bytes, file, from: `${source.url}?region=model` };
}

describe('a prefetch', () => {
  it('brings a range of any region near, and tells how far it is', async () => {
    const { appliance, url, bytes } = await serveModel();
    const region = await (await connectClient(url)).attach('model');
    const begun = await region.prefetch({ offset: 8192, length: 65_536 });
    expect(begun).toMatchObject({ region: 'model', id: 1, offset: 8192, length: 65_536 });
    const ended = await region.prefetch({ offset: 8192, length: 65_536, wait: true });
    expect(ended).toMatchObject({ state: 'done', pages: { total: 16, passed: 16 } });
    expect((await region.stat()).pages.present).toBe(16);
    const before = (await region.stat()).operations;
    expect(Buffer.from(await region.read(8192, 100)).equals(bytes.subarray(8192, 8292))).toBe(true);
    const { bypassed, faulted } = (await region.stat()).operations;
    expect([bypassed - before.bypassed, faulted - before.faulted]).toEqual([1, 0]);

    await appliance.create({ name: 'zeros', size: MIB });
    const plain = await (await connectClient(url)).attach('zeros');
    expect((await plain.prefetch({ wait: true })).pages.filled).toBe(PAGES);
    expect((await plain.stat()).fills.read).toBe(0);
    expect(await codeOf(() => plain.prefetch({ offset: 2 * MIB }))).toBe('ERR_RANGE');
    expect(await codeOf(() => plain.detachSource())).toBe('ERR_ARGUMENT');
  });

  it('stops where memory is full, as the command line tells', async () => {
    const folder = scratch();
    const file = join(folder, 'data');
    writeFileSync(file, randomBytes(4 * MIB));
    const serve = await ServeProcess.start(folder, ['--memory', '1MiB', file]);
    const told = await serve.json<PrefetchReply>(['prefetch', 'data', '--wait']);
    const room = PAGES - PAGES / 16;
    expect(told).toMatchObject({ state: 'partial', pages: { total: 4 * PAGES, filled: room } });
    const text = await serve.run(['prefetch', 'data', '--wait']);
    expect([text.code, text.stdout.toString()]).toEqual([0, expect.stringContaining('full')]);
    const both = await serve.run(['prefetch', 'data', '--wait', '--cancel']);
    expect(both.code).toBe(2);
    expect((await serve.run(['prefetch', 'none'])).stderr).toContain('ERR_NO_SUCH_REGION');
    expect((await serve.run(['detach', 'data'])).stderr).toContain('ERR_ARGUMENT');
  }, 60_000);

  it('of a source that goes tells how far it came, and goes on when it is back', async () => {
    const source = await ServeProcess.start(scratch());
    const bytes = randomBytes(MIB);
    const file = join(source.folder, 'model');
    writeFileSync(file, bytes);
    await source.json(['create', 'model', '--file', file]);
    const from = `${source.ready.control}?region=model`;
    const here = await ServeProcess.start(scratch());
    await here.json(['create', 'copy', '--from', from]);
    const half = ['prefetch', 'copy', '--length', '512KiB', '--wait'];
    expect((await here.json<PrefetchReply>(half)).pages.filled).toBe(PAGES / 2);
    await source.end('SIGKILL');

    const failing = here.run(['prefetch', 'copy', '--wait']);
    const joined = here.run(['prefetch', 'copy', '--wait', '--json']);
    // Pages that are here do not wait for those that are not.
    const region = await (await connectClient(here.ready.control)).attach('copy');
    expect(Buffer.from(await region.read(0, 100)).equals(bytes.subarray(0, 100))).toBe(true);
    for (const run of await Promise.all([failing, joined])) {
      expect(run.code).toBe(1);
      expect(run.stderr).toContain('ERR_SOURCE_AWAY');
      expect(run.stderr).toContain(`${PAGES / 2} of ${PAGES} pages are here`);
    }
    expect(await here.json(['stat', 'copy'])).toMatchObject({
      state: 'ready',
      from: { connected: false },
      error: { code: 'ERR_SOURCE_AWAY', message: expect.stringContaining(from) },
    });
    const refused = await here.run(['detach', 'copy']);
    expect(refused.stderr).toContain(`${PAGES / 2} pages of copy`);

    await ServeProcess.start(source.folder);
    const rest = await here.json<PrefetchReply>(['prefetch', 'copy', '--wait']);
    expect(rest).toMatchObject({ state: 'done', pages: { filled: PAGES / 2 } });
    expect((await here.json<RegionStat>(['stat', 'copy'])).error).toBeUndefined();
    await here.json(['detach', 'copy']);
    expect((await here.json<RegionStat>(['stat', 'copy'])).from?.detached).toBe(true);
  }, 60_000);

  it('is no reason to refuse a removal: what it pulled is dirty for a moment only', async () => {
    const source = await serveAppliance();
    await source.appliance.create({ name: 'model', size: 48 * MIB });
    const here = await serveAppliance();
    await here.appliance.create({ name: 'copy', from: `${source.url}?region=model` });
    const client = await connectClient(here.url);
    const region = await client.attach('copy');
    await region.prefetch();
    while ((await region.stat()).pages.dirty === 0) {
      expect((await region.prefetch()).state).toBe('running');
    }
    await client.remove('copy');
    expect(here.appliance.regions()).toEqual([]);
  });

  it('is over at once when it is cancelled, also while its source is silent', async () => {
    const here = await serveAppliance();
    const fill = () => new Promise<void>(() => {});
    const source = { fill, timeoutMs: 120_000 };
    await here.appliance.create({ name: 'silent', size: MIB, source });
    const region = await (await connectClient(here.url)).attach('silent');
    const { state } = await region.prefetch();
    const plain = await farpage(['prefetch', 'silent', '--appliance', here.url]);
    expect(plain.stdout.toString()).toBe('silent: 256 pages, goes on in the background\n');
    const words = ['prefetch', 'silent', '--cancel', '--json'];
    const run = await farpage([...words, '--appliance', here.url]);
    expect(state).toBe('running');
    const ended = JSON.parse(run.stdout.toString()) as PrefetchReply;
    expect(ended).toMatchObject({ state: 'cancelled', pages: { passed: 0, filled: 0 } });
    // And another one may begin.
    expect((await region.prefetch()).state).toBe('running');
  }, 60_000);

  it('ends with its region, or when it is cancelled', async () => {
    const model = await serveModel();
    const here = await serveAppliance();
    await here.appliance.create({ name: 'copy', from: model.from });
    const client = await connectClient(here.url);
    const region = await client.attach('copy');
    await model.appliance.close({ sync: false });
    await region.prefetch();
    await region.cancelPrefetch();
    const waited = codeOf(() => region.prefetch({ wait: true }));
    await client.remove('copy', { dirty: 'discard' });
    // Removing the region cancels it first: which of the three the client meets is a race.
    const ends = ['ERR_REGION_REMOVED', 'ERR_NO_SUCH_REGION', 'ERR_ABORTED'];
    expect(ends).toContain(await waited);
  }, 60_000);
});

describe('a copy', () => {
  it('is made by the library too: named, and for as long as its client stays', async () => {
    const model = await serveModel();
    const here = await serveAppliance();
    const made = await here.appliance.create({ name: 'a', from: model.from });
    expect(made).toMatchObject({ kind: 'staged', size: MIB, persist: true });
    const client = await connectClient(here.url);
    const named = await client.allocate({ name: 'b', from: model.from });
    const unnamed = await client.allocate({ from: model.from });
    expect((await unnamed.stat()).persist).toBe(false);
    for (const region of [await client.attach('a'), named, unnamed]) {
      expect(Buffer.from(await region.read(0, MIB)).equals(model.bytes)).toBe(true);
      await region.write(9, Buffer.from('mine'));
    }
    expect(unnamed.carve).toBe(true);
    expect((await unnamed.prefetch({ wait: true })).state).toBe('done');
    expect(await codeOf(() => unnamed.detachSource())).toBe('ERR_ARGUMENT');
    expect(readFileSync(model.file).equals(model.bytes)).toBe(true);

    expect(await codeOf(() => client.allocate({ from: `${model.url}?region=none` }))).toBe(
      'ERR_NO_SUCH_REGION',
    );
    expect(await codeOf(() => here.appliance.create({ name: 'c', from: model.url }))).toBe(
      'ERR_ARGUMENT',
    );
    await client.close();
    expect(here.appliance.regions().map(({ name }) => name)).toEqual(['a', 'b']);
  }, 60_000);

  it('of an appliance with a token, over TCP, within --allow-url', async () => {
    const token = 'a-token-of-at-least-sixteen';
    const folder = scratch();
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, token, { mode: 0o600 });
    const listen = ['--listen', '127.0.0.1:0', '--token-file', tokenFile];
    const source = await ServeProcess.start(folder, listen);
    const bytes = randomBytes(MIB);
    writeFileSync(join(folder, 'model'), bytes);
    await source.json(['create', 'model', '--file', join(folder, 'model')]);
    const { tcp = '' } = source.ready;
    const from = `${tcp}/model`;

    const here = await ServeProcess.start(scratch(), [
      ...['--listen', '127.0.0.1:0', '--allow-url', from],
    ]);
    expect((await here.run(['create', 'copy', '--from', from])).stderr).toContain('ERR_TOKEN');
    const withToken = ['--from', from, '--from-token-file', tokenFile];
    await here.json(['create', 'copy', ...withToken]);
    expect((await here.json<PrefetchReply>(['prefetch', 'copy', '--wait'])).state).toBe('done');
    const read = await here.run(['read', 'copy']);
    expect(read.stdout.equals(bytes)).toBe(true);

    // At the TCP door: what is allowed asks the source, whose token the appliance does not lend.
    const door = await connectClient(here.ready.tcp ?? '');
    expect(await codeOf(() => door.allocate({ from: `${tcp}/other` }))).toBe('ERR_URL_NOT_ALLOWED');
    expect(await codeOf(() => door.allocate({ from }))).toBe('ERR_TOKEN');
    expect(await codeOf(async () => (await door.attach('copy')).detachSource())).toBe('ERR_ACCESS');
    const open = await farpage(['create', 'd', ...withToken, '--appliance', here.ready.tcp ?? '']);
    expect(open.code).toBe(1);
  }, 60_000);

  it('of a file that is cut underneath loses only what was cut', async () => {
    const model = await serveModel();
    const here = await serveAppliance();
    await here.appliance.create({ name: 'copy', from: model.from });
    const region = await (await connectClient(here.url)).attach('copy');
    await region.read(MIB - 10, 10);
    truncateSync(model.file, MIB / 2);
    expect(Buffer.from(await region.read(4096, 9)).equals(model.bytes.subarray(4096, 4105))).toBe(
      true,
    );
    expect(await codeOf(() => region.read(MIB / 2 + 65_536, 9))).toBe('ERR_FILE_CHANGED');
    expect(await codeOf(() => region.prefetch({ wait: true }))).toBe('ERR_FILE_CHANGED');
    const last = Buffer.from(await region.read(MIB - 10, 10));
    expect(last.equals(model.bytes.subarray(MIB - 10))).toBe(true);
  }, 60_000);
});
