import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { mount, NO_MOUNT, smallDisk } from '../helpers/mounted-disk.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

describe('a full disk', () => {
  it('fails the sync with a code, keeps the pages dirty, and loses nothing', async (context) => {
    const disk = smallDisk();
    if (disk === undefined) return context.skip(NO_MOUNT);
    const sparse = join(disk, 'sparse');
    writeFileSync(sparse, '');
    truncateSync(sparse, 4 * 2 ** 20);
    const filler = join(disk, 'filler');
    // Up to the last block: what is written next needs blocks that are not there.
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4096']);
    spawnSync('sync', ['-f', disk]);
    const served = await serveAppliance({ regions: [{ name: 'r', file: sparse }] });
    const region = await (await connectClient(served.url)).attach('r');
    const bytes = patternOf(2 ** 20);
    await region.write(4096, bytes);
    expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
    const { pages } = await region.stat();
    expect(pages).toMatchObject({ dirty: 256, lost: 0 });
    expect(Buffer.compare(await region.read(4096, 2 ** 20), bytes)).toBe(0);
    rmSync(filler);
    spawnSync('sync', ['-f', disk]);
    expect(await region.sync()).toMatchObject({ pagesWritten: 256, durable: true });
    expect(Buffer.compare(readFileSync(sparse).subarray(4096, 4096 + 2 ** 20), bytes)).toBe(0);
    await served.appliance.close();
  });
});

describe('a full state directory', () => {
  it('can be emptied: a region goes, and what it had is free again', async (context) => {
    const disk = mount('-t', 'tmpfs', '-o', 'size=8m', 'tmpfs');
    if (disk === undefined) return context.skip(NO_MOUNT);
    const stateDirectory = join(disk, 'state');
    const { appliance, url, control } = await serveAppliance({ stateDirectory, tiers: ['none'] });
    await appliance.create({ name: 'kept', size: 64 * 2 ** 20, persist: true });
    const region = await (await connectClient(url)).attach('kept');
    await region.write(0, patternOf(10 * 2 ** 20));
    expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
    spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=4096']);
    const other = { name: 'other', size: 4096, persist: true };
    expect(await codeOf(() => appliance.create(other))).toBe('ERR_NO_SPACE');
    const query = { dirty: 'discard' } as const;
    await control.call('remove', { params: { region: 'kept' }, query });
    await appliance.create(other);
    expect(appliance.regionNames).toEqual(['other']);
    await appliance.close();
  });
});

describe('a file deleted or replaced underneath', () => {
  for (const [kind, count] of [
    ['mapped', 3],
    ['mapped', 200],
    ['staged', 3],
  ] as const) {
    it(`takes no write that nobody would find (${kind}, ${count} pages)`, async () => {
      const folder = scratch();
      const length = 1024 * 4096;
      const file = patternFile(folder, { length });
      const regions = [{ name: 'r', file, kind }];
      const { url } = await serveAppliance({ regions });
      const region = await (await connectClient(url)).attach('r');
      const write = async (text: string) => {
        for (let page = 0; page < count; page += 1) {
          await region.write(page * 5 * 4096, Buffer.from(text));
        }
        await region.fence();
      };
      await write('first');
      await region.sync();
      await write('later');
      const aside = join(folder, 'aside');
      const before = readFileSync(file);
      renameSync(file, aside);
      writeFileSync(file, Buffer.alloc(length, 'x'));
      expect(await codeOf(() => region.flush())).toBe('ERR_FILE_CHANGED');
      expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
      expect(await region.stat()).toMatchObject({
        pages: { dirty: count, lost: 0 },
        error: { code: 'ERR_FILE_CHANGED' },
      });
      expect(readFileSync(file).every((byte) => byte === 0x78)).toBe(true);
      expect(Buffer.compare(readFileSync(aside), before)).toBe(0);
      // Put back, it is the file that it was.
      renameSync(aside, file);
      expect(await region.sync()).toMatchObject({ pagesWritten: count, durable: true });
      expect(readFileSync(file).toString('latin1', 0, 5)).toBe('later');
      // Moved away it has a name all the same; deleted it has none.
      await write('moved');
      renameSync(file, aside);
      expect(await region.sync()).toMatchObject({ pagesWritten: count, durable: true });
      expect(readFileSync(aside).toString('latin1', 0, 5)).toBe('moved');
      await write('never');
      rmSync(aside);
      expect(await codeOf(() => region.flush())).toBe('ERR_FILE_CHANGED');
      expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
      expect((await region.stat()).pages).toMatchObject({ dirty: count, lost: 0 });
      expect(Buffer.from(await region.read(0, 5)).toString()).toBe('never');
    });

    it(`is told by a sync of it all (${kind}, ${count} pages) with nothing dirty`, async () => {
      const folder = scratch();
      const file = patternFile(folder, { length: 1024 * 4096 });
      const { url } = await serveAppliance({ regions: [{ name: 'r', file, kind }] });
      const region = await (await connectClient(url)).attach('r');
      const text = Buffer.from('text');
      for (let page = 0; page < count; page += 1) await region.write(page * 5 * 4096, text);
      expect((await region.sync()).pagesWritten).toBe(count);
      renameSync(file, join(folder, 'aside'));
      writeFileSync(file, text);
      expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
      expect(await codeOf(() => region.flush())).toBe('ERR_FILE_CHANGED');
      expect((await region.stat()).error).toBeUndefined();
      renameSync(join(folder, 'aside'), file);
      expect(await region.sync()).toMatchObject({ pagesWritten: 0, durable: true });
    });
  }

  it('is told by a sync of what a flush has written to it before', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 64 * 4096 });
    const { url } = await serveAppliance({ regions: [{ name: 'r', file }] });
    const region = await (await connectClient(url)).attach('r');
    await region.write(0, Buffer.from('flushed'));
    await region.flush();
    rmSync(file);
    expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
    expect((await region.stat()).pages).toMatchObject({ dirty: 1, lost: 0 });
  });
});

describe('a file cut underneath', () => {
  it('fails the one operation that met it; the appliance and other pages go on', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 64 * 4096 });
    const { url } = await serveAppliance({ regions: [{ name: 'r', file }], readAhead: 0 });
    const region = await (await connectClient(url)).attach('r');
    await region.write(60 * 4096, Buffer.from('beyond'));
    await region.write(4096, Buffer.from('within'));
    truncateSync(file, 8 * 4096);
    const codes = await Promise.all([
      codeOf(() => region.read(2 * 4096, 100)),
      codeOf(() => region.read(40 * 4096, 100)),
      codeOf(() => region.read(3 * 4096, 100)),
    ]);
    expect(codes[0]).toBe('nothing');
    expect(['ERR_FILE_CHANGED', 'ERR_PAGE_LOST']).toContain(codes[1]);
    expect(codes[2]).toBe('nothing');
    expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
    expect((await region.sync({ length: 8 * 4096 })).pagesWritten).toBeLessThanOrEqual(1);
    expect(readFileSync(file).toString('latin1', 4096, 4102)).toBe('within');
    expect((await region.stat()).pages.dirty).toBe(1);
    // The bytes went with the end of the file: told again, also when the file has grown back.
    truncateSync(file, 64 * 4096);
    expect(await codeOf(() => region.sync())).toBe('ERR_PAGE_LOST');
    expect(await region.stat()).toMatchObject({
      pages: { dirty: 1, lost: 1 },
      error: { message: expect.stringMatching(/: 1 page of it lost$/) },
    });
    expect(await codeOf(() => region.read(60 * 4096, 6))).toBe('ERR_PAGE_LOST');
    expect(await codeOf(() => region.read(40 * 4096, 6))).toBe('nothing');
    // All of the page written anew makes it well, part of it does not.
    const page = Buffer.alloc(4096, 'n');
    expect(await codeOf(() => region.write(60 * 4096, page.subarray(1)))).toBe('ERR_PAGE_LOST');
    await region.write(59 * 4096 + 5, Buffer.alloc(2 * 4096, 'n'));
    expect((await region.sync()).pagesWritten).toBe(3);
    expect(
      readFileSync(file)
        .subarray(60 * 4096, 61 * 4096)
        .equals(page),
    ).toBe(true);
    expect((await region.stat()).pages).toMatchObject({ dirty: 0, lost: 0 });
  });
});

describe('a file without the right to it', () => {
  it.runIf(process.getuid?.() === 0)('is refused, or read-only by default', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 4096 });
    chmodSync(folder, 0o777);
    const nobody = 65_534;
    const words = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    chmodSync(file, 0o000);
    const refused = await farpage(['serve', file, ...words], { uid: nobody });
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('ERR_FILE_ACCESS')]);
    chmodSync(file, 0o444);
    const wanted = ['serve', file, ...words, '--access', 'read-write'];
    const denied = await farpage(wanted, { uid: nobody });
    expect([denied.code, denied.stderr]).toEqual([1, expect.stringContaining('ERR_FILE_ACCESS')]);
  });
});

describe.each(['deleted', 'replaced'])('a file that was %s while it is served', (how) => {
  it('goes on as the file that it was, also for those who come later', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 16 * 4096 });
    const { url, control } = await serveAppliance({ regions: [{ name: 'r', file }] });
    const identityNow = async () => {
      const { session } = await control.call('openSession', {});
      const attached = { params: { session }, body: { region: 'r' } };
      return (await control.call('attach', attached)).identity;
    };
    const identity = await identityNow();
    const first = await (await connectClient(url)).attach('r');
    rmSync(file);
    if (how === 'replaced') writeFileSync(file, Buffer.alloc(16 * 4096));
    const second = await (await connectClient(url)).attach('r');
    expect(Buffer.compare(await second.read(0, 8192), patternOf(8192))).toBe(0);
    await first.write(0, Buffer.from('seen'));
    await first.fence();
    expect(Buffer.from(await second.read(0, 4)).toString()).toBe('seen');
    expect(await identityNow()).toBe(identity);
  });
});

describe('a file that is gone before it is first used', () => {
  it('is told by its name', async () => {
    const file = patternFile(scratch(), { length: 4096 });
    const { appliance, url } = await serveAppliance();
    await appliance.create({ name: 'r', file, reserve: true });
    rmSync(file);
    const attached = (await connectClient(url)).attach('r');
    await expect(attached).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
    await expect(attached).rejects.toThrow(file);
  });
});

describe.each([
  ['mapped', {}],
  ['staged', { kind: 'staged' }],
  ['reserved', { reserve: true, length: 64 * 4096 - 100 }],
] as const)('a %s region whose file was cut while nobody served it', (_, made) => {
  it.each([0, 8 * 4096, 65 * 4096])('or has grown, to %i bytes, says so', async (length) => {
    const folder = scratch();
    const whole = () => patternFile(folder, { length: 64 * 4096 - 100 });
    const file = whole();
    const first = await serveAppliance({}, folder);
    await first.appliance.create({ name: 'r', file, ...made });
    await first.appliance.close();
    truncateSync(file, length);
    const { url, appliance } = await serveAppliance({}, folder);
    const client = await connectClient(url);
    const read = async () => await (await client.attach('r')).read(0, 1);
    expect(await codeOf(read)).toBe('ERR_FILE_CHANGED');
    // Once it is as it was, so is the region.
    whole();
    expect([...(await read())]).toEqual([...patternOf(1)]);
    expect(appliance.regions()).toMatchObject([{ name: 'r', state: 'ready' }]);
  });
});
