import { readFileSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeRange } from '../../src/cli/transfer.js';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

describe('regions', () => {
  it('made by create come back after a restart, with their file and without', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 10_000 });
    const first = await serveAppliance({}, folder);
    await first.appliance.create({ name: 'a', size: 2 ** 40 });
    await first.appliance.create({ name: 'b', file, offset: 4096 });
    const client = await connectClient(first.url);
    const b = await client.attach('b');
    await b.write(0, Buffer.from('kept'));
    await first.appliance.close();
    const second = await serveAppliance({}, folder);
    expect(second.appliance.regions().map(({ name, state }) => [name, state])).toEqual([
      ['a', 'idle'],
      ['b', 'idle'],
    ]);
    const again = await (await connectClient(second.url)).attach('b');
    expect(Buffer.from(await again.read(0, 4)).toString()).toBe('kept');
    expect(again.size).toBe(10_000 - 4096);
  });

  it('whose file is gone are unavailable until it is back', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const first = await serveAppliance({}, folder);
    await first.appliance.create({ name: 'a', file });
    await first.appliance.close();
    unlinkSync(file);
    const { appliance, url } = await serveAppliance({}, folder);
    const client = await connectClient(url);
    expect(await codeOf(() => client.attach('a'))).toBe('ERR_FILE_NOT_FOUND');
    const [stat] = appliance.regions();
    expect(stat).toMatchObject({ state: 'unavailable', error: { code: 'ERR_FILE_NOT_FOUND' } });
    patternFile(folder, { length: 8192 });
    expect((await client.attach('a')).size).toBe(8192);
  });

  it('of the same name and file are one region, of another file an error', async () => {
    const folder = scratch();
    const files = ['a', 'b', 'c'].map((name) => patternFile(folder, { length: 4096, name }));
    const [file, other, third] = files;
    symlinkSync(file!, join(folder, 'link'));
    const { appliance } = await serveAppliance({ regions: [{ name: 'r', file: file! }] }, folder);
    expect((await appliance.create({ name: 'r', file: join(folder, 'link') })).name).toBe('r');
    const clash = () => appliance.create({ name: 'r', file: other! });
    expect(await codeOf(clash)).toBe('ERR_REGION_EXISTS');
    expect(await codeOf(() => appliance.create({ name: 'r', size: 4096 }))).toBe(
      'ERR_REGION_EXISTS',
    );
    const twice = [
      { name: 'r', file: third! },
      { name: 'r', file: other! },
    ];
    expect(await codeOf(() => serveAppliance({ regions: twice }))).toBe('ERR_REGION_EXISTS');
  });

  it('do not share a byte of a file that one of them may write', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 4 * 4096 });
    const { appliance } = await serveAppliance({}, folder);
    await appliance.create({ name: 'a', file, length: 8192 });
    const overlap = () => appliance.create({ name: 'b', file, offset: 4096 });
    expect(await codeOf(overlap)).toBe('ERR_REGION_BUSY');
    expect(appliance.regions().map(({ name }) => name)).toEqual(['a']);
    await appliance.create({ name: 'b', file, offset: 8192 });
    await appliance.create({ name: 'c', file, access: 'read-only' });
  });

  it('are removed with their users told, but not while they are dirty', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const { url, control } = await serveAppliance({ regions: [{ name: 'r', file }] }, folder);
    const client = await connectClient(url);
    const region = await client.attach('r');
    await region.write(4096, Buffer.from('new'));
    expect(await codeOf(() => client.remove('r'))).toBe('ERR_REGION_DIRTY');
    await client.remove('r', { dirty: 'sync' });
    expect(readFileSync(file).toString('latin1', 4096, 4099)).toBe('new');
    expect(await codeOf(() => region.read(0, 1))).toBe('ERR_REGION_REMOVED');
    expect(await codeOf(() => client.attach('r'))).toBe('ERR_NO_SUCH_REGION');
    await control.call('create', { body: { name: 'r', file } });
    const next = await client.attach('r');
    await next.write(0, Buffer.from('dropped'));
    await client.remove('r', { dirty: 'discard' });
    expect(readFileSync(file).subarray(0, 8)).toEqual(patternOf(8));
  });

  it('are told from the files that cannot be served', async () => {
    const folder = scratch();
    patternFile(folder, { length: 0, name: 'empty' });
    const { appliance } = await serveAppliance({}, folder);
    const make = (file: string) => codeOf(() => appliance.create({ name: 'r', file }));
    expect(await make(join(folder, 'missing'))).toBe('ERR_FILE_NOT_FOUND');
    expect(await make(join(folder, 'empty'))).toBe('ERR_FILE_EMPTY');
    expect(await make(folder)).toBe('ERR_FILE_KIND');
    expect(await make('/dev/null')).toBe('ERR_FILE_KIND');
    expect(await codeOf(() => appliance.create({ name: '@0123456789ab', size: 4096 }))).toBe(
      'ERR_NAME',
    );
    expect(appliance.regions()).toEqual([]);
  });

  it('can be reclaimed, and pictured page by page', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8 * 4096 });
    const { url } = await serveAppliance({ regions: [{ name: 'r', file }], readAhead: 0 }, folder);
    const region = await (await connectClient(url)).attach('r');
    await region.read(4096, 1);
    await region.write(3 * 4096 + 1, Buffer.from('x'));
    const before = await region.pageMap({ cells: 8 });
    expect([...before.cells].map((cell) => cell & 3)).toEqual([0, 1, 0, 3, 0, 0, 0, 0]);
    expect(await region.reclaim()).toBe(1);
    const after = await region.pageMap({ cells: 8 });
    expect([...after.cells].map((cell) => cell & 3)).toEqual([0, 0, 0, 3, 0, 0, 0, 0]);
    expect(await codeOf(() => region.pageMap({ offset: 1, length: 2 ** 40 }))).toBe('ERR_RANGE');
    expect(await codeOf(() => region.sync({ offset: 8 * 4096 + 1 }))).toBe('ERR_RANGE');
  });

  it('that fill the memory say so, though writes beside the failing one end unknown', async () => {
    const { appliance, url } = await serveAppliance({ memory: '1MiB', tiers: [] });
    await appliance.create({ name: 'r', size: 4 * 2 ** 20, fill: 'zero' });
    const region = await (await connectClient(url)).attach('r');
    const pieces = async function* () {
      for (let n = 0; n < 40; n++) yield Buffer.alloc(60_000, 1);
    };
    // Which writes are in flight beside the failing one is a matter of timing: several rounds.
    for (let round = 0; round < 20; round++) {
      const plan = { offset: 0, limits: {}, source: pieces(), onWritten: () => {} };
      const failed = writeRange(region, plan);
      await expect(failed).rejects.toMatchObject({ code: 'ERR_MEMORY_FULL' });
      const written = /the first (\d+) bytes are written$/;
      await expect(failed).rejects.toThrow(written);
      const [, bytes] = written.exec(String(await failed.catch((error: Error) => error))) ?? [];
      expect([Number(bytes) % 60_000, Number(bytes) < 2 ** 20]).toEqual([0, true]);
    }
  });
});

describe('exports of the library', () => {
  it('are made read-only, listed and closed as those of the command line', async () => {
    const { appliance } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8192 });
    const made = await appliance.export('r');
    expect(made).toMatchObject({ region: 'r', host: '127.0.0.1', access: 'read-only' });
    const written = await appliance.export('r', { access: 'read-write' });
    expect(appliance.exports('r')).toEqual([made, written]);
    for (const { host, port } of [made, written]) (await QueuePair.connect({ host, port })).close();
    appliance.unexport('r', made.port);
    const { host, port } = made;
    expect(await codeOf(() => QueuePair.connect({ host, port }))).toBe('ERR_CONNECTION');
    expect(appliance.exports('r')).toEqual([written]);
    expect(await codeOf(() => appliance.unexport('r', made.port))).toBe('ERR_ARGUMENT');
    expect(await codeOf(() => appliance.export('none'))).toBe('ERR_NO_SUCH_REGION');
    expect(await codeOf(() => appliance.export('r', { port: -1 }))).toBe('ERR_ARGUMENT');
    await appliance.create({ name: 'fixed', size: 4096, access: 'read-only' });
    const more = appliance.export('fixed', { access: 'read-write' });
    expect(await codeOf(() => more)).toBe('ERR_ACCESS');
    await appliance.close();
    expect(await codeOf(() => appliance.export('r'))).toBe('ERR_CLOSED');
  });
});
