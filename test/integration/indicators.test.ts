import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/http-client.js';
import type { Pins, Protection, ReclaimReply, RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { memoryFolder } from '../helpers/crash.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;

describe('protect', () => {
  it('is kept over a restart, for regions with a memory directory too', async () => {
    const folder = scratch();
    const words = ['--memory-dir', memoryFolder()];
    const first = await ServeProcess.start(folder, words);
    await first.json(['create', 'plain', '--size', '1TiB']);
    await first.json(['create', 'kept', '--size', '1MiB', '--persist']);
    const client = await connectClient(first.ready.control);
    for (const name of ['plain', 'kept']) {
      const region = await client.attach(name);
      await region.write(PAGE, Buffer.from('dirty'));
      await region.protect('read', { offset: 0, length: 3 * PAGE });
      await region.protect('none', { offset: 2 * PAGE, length: PAGE });
    }
    await first.end('SIGKILL');
    const second = await ServeProcess.start(folder, words);
    const after = await connectClient(second.ready.control);
    for (const name of ['plain', 'kept']) {
      const region = await after.attach(name);
      expect(await region.protection()).toEqual([
        { offset: 0, length: 2 * PAGE, access: 'read' },
        { offset: 2 * PAGE, length: PAGE, access: 'none' },
      ]);
      expect(Buffer.from(await region.read(PAGE, 5)).toString()).toBe('dirty');
      expect(await codeOf(() => region.fetchAdd(PAGE, 1n))).toBe('ERR_ACCESS');
      expect(await codeOf(() => region.read(2 * PAGE, 1))).toBe('ERR_ACCESS');
      expect((await region.stat()).pages.dirty).toBe(1);
    }
    // Making it again is finding it, as it is.
    await second.json(['create', 'plain', '--size', '1TiB']);
    const { ranges } = await second.json<Protection>(['protect', 'plain']);
    expect(ranges).toHaveLength(2);
    const table = (await second.run(['protect', 'plain'])).stdout.toString();
    expect(table).toMatch(/^offset\s+length\s+access\n.*0\s+8 KiB\s+read\n.*8192\s+4 KiB\s+none/s);
    await second.json(['protect', 'plain', '--access', 'read-write']);
    expect((await second.run(['protect', 'plain'])).stdout.toString()).toBe(
      'plain: nothing is protected\n',
    );
    for (const name of ['plain', 'kept']) await second.run(['rm', name, '--discard']);
    await second.end();
  });

  it('is kept over restarts for files that `serve` names, until they are removed', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 16 * PAGE });
    let serve = await ServeProcess.start(folder, [`f=${file}`]);
    await serve.json(['protect', 'f', '--access', 'read']);
    await serve.json(['protect', 'f', '--access', 'none', '--offset', '32K', '--length', '4K']);
    await serve.json(['pin', 'f', '--length', '8K', '--lazy']);
    const ranges = [
      { offset: 0, length: 8 * PAGE, access: 'read' },
      { offset: 8 * PAGE, length: PAGE, access: 'none' },
      { offset: 9 * PAGE, length: 7 * PAGE, access: 'read' },
    ];
    const memory = memoryFolder();
    // Staged from then on, and read-only.
    for (const words of [['--memory-dir', memory], [], ['--access', 'read-only']]) {
      await serve.end('SIGKILL');
      serve = await ServeProcess.start(folder, [`f=${file}`, ...words]);
      expect((await serve.json<Protection>(['protect', 'f'])).ranges).toEqual(ranges);
      const { ranges: pins } = await serve.json<Pins>(['pin', 'f', '--list']);
      expect(pins).toEqual([{ offset: 0, length: 2 * PAGE }]);
      const written = await serve.run(['write', 'f'], { input: 'x' });
      expect(written.stderr).toMatch(/\[ERR_ACCESS\]/);
      expect((await serve.run(['read', 'f', '--offset', '32K'])).stderr).toMatch(/\[ERR_ACCESS\]/);
    }
    // From here on the catalog has it, and it is the same region.
    await serve.json(['create', 'f', '--file', file]);
    await serve.json(['protect', 'f', '--access', 'read-write', '--offset', '32K']);
    await serve.end('SIGKILL');
    serve = await ServeProcess.start(folder, [`f=${file}`]);
    expect((await serve.json<Protection>(['protect', 'f'])).ranges).toEqual(ranges.slice(0, 1));
    await serve.json(['rm', 'f']);
    await serve.end();
    serve = await ServeProcess.start(folder, [`f=${file}`]);
    expect((await serve.json<Protection>(['protect', 'f'])).ranges).toEqual([]);
    expect((await serve.run(['write', 'f'], { input: 'x' })).code).toBe(0);
  });

  it('holds from the first touch on, and allocates nothing before it', async () => {
    const { appliance, url } = await serveAppliance();
    await appliance.create({ name: 'r', size: 2 ** 40 });
    await appliance.protect('r', { access: 'read', length: 2 ** 30 });
    expect(await appliance.invalidate('r')).toMatchObject({ pagesInvalidated: 0 });
    expect(appliance.regions()[0]).toMatchObject({ allocatedBytes: 0 });
    const region = await (await connectClient(url)).attach('r');
    expect(await codeOf(() => region.write(2 ** 29, Buffer.from('x')))).toBe('ERR_ACCESS');
    await region.write(2 ** 30, Buffer.from('x'));
    expect((await region.stat()).pages).toMatchObject({ dirty: 1 });
  });

  it('leaves dirty pages dirty, and a sync writes them', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8 * PAGE });
    const { appliance, url } = await serveAppliance({ regions: [{ name: 'r', file }] });
    const region = await (await connectClient(url)).attach('r');
    await region.write(PAGE, Buffer.from('written'));
    await appliance.protect('r', { access: 'none', offset: PAGE, length: PAGE });
    expect((await region.stat()).pages.dirty).toBe(1);
    expect((await region.sync()).pagesWritten).toBe(1);
    expect(
      readFileSync(file)
        .subarray(PAGE, PAGE + 7)
        .toString(),
    ).toBe('written');
    expect(await codeOf(() => region.read(PAGE, 1))).toBe('ERR_ACCESS');
    expect(Buffer.compare(Buffer.from(await region.read(0, 10)), patternOf(10))).toBe(0);
  });

  it('refuses what it cannot do, and changes nothing by it', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8 * PAGE - 100 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const refusal = async (...words: string[]) => {
      const run = await serve.run(['protect', 'r', ...words]);
      return [run.code, /ERR_[A-Z_]+/.exec(run.stderr)?.[0]];
    };
    const range = (offset: string, length: string) => ['--offset', offset, '--length', length];
    expect(await refusal('--access', 'all')).toEqual([2, 'ERR_ARGUMENT']);
    expect(await refusal('--access', 'none', ...range('1', '4K'))).toEqual([1, 'ERR_ALIGNMENT']);
    expect(await refusal('--access', 'none', ...range('0', '1'))).toEqual([1, 'ERR_ALIGNMENT']);
    expect(await refusal('--access', 'none', ...range('0', '1M'))).toEqual([1, 'ERR_RANGE']);
    expect((await serve.json<Protection>(['protect', 'r'])).ranges).toEqual([]);
    // The last page of a file may be a part of one.
    await serve.json(['protect', 'r', '--access', 'read', '--offset', '28K']);
    const { ranges } = await serve.json<Protection>(['protect', 'r']);
    expect(ranges).toEqual([{ offset: 7 * PAGE, length: PAGE - 100, access: 'read' }]);
  });

  it('has a bound on ranges', async () => {
    const { appliance } = await serveAppliance();
    await appliance.create({ name: 'r', size: 2 ** 40 });
    const one = (n: number) =>
      appliance.protect('r', { access: 'read', offset: n * 2 * PAGE, length: PAGE });
    for (let n = 0; n < 1023; n += 1) await one(n);
    expect((await one(1023)).ranges).toHaveLength(1024);
    expect(await codeOf(() => one(1024))).toBe('ERR_QUOTA');
    const { ranges } = await appliance.protect('r', { access: 'none' });
    expect(ranges).toEqual([{ offset: 0, length: 2 ** 40, access: 'none' }]);
  });

  it('is for the owner of a region: at the TCP door of those made there', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8 * PAGE });
    const listen = '127.0.0.1:0';
    const { appliance } = await serveAppliance({ listen, regions: [{ name: 'r', file }] });
    const { tcp } = appliance.doors;
    const control = new ControlClient({ address: { host: tcp!.host, port: tcp!.port } });
    const call = (region: string) => ({ params: { region }, body: { access: 'none' } }) as const;
    const discard = (region: string) =>
      ({ params: { region }, body: { dirty: 'discard' } }) as const;
    expect(await codeOf(() => control.call('protect', call('r')))).toBe('ERR_ACCESS');
    expect(await codeOf(() => control.call('invalidate', discard('r')))).toBe('ERR_ACCESS');
    expect(await codeOf(() => control.call('reclaim', discard('r')))).toBe('ERR_ACCESS');
    await control.call('invalidate', { params: { region: 'r' }, body: {} });
    const client = await connectClient(`farpage://${tcp!.host}:${tcp!.port}`);
    const own = await client.allocate({ size: '1MiB' });
    await own.write(0, Buffer.from('x'));
    await own.protect('none', { length: PAGE });
    expect(await own.invalidate({ dirty: 'discard' })).toBe(1);
    control.close();
  });
});

describe('invalidate and reclaim', () => {
  it('refuse dirty pages, write them back, or drop them, as they are told', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 32 * PAGE });
    const serve = await ServeProcess.start(folder, [`r=${file}`, '--read-ahead', '0']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const write = async (text: string) => {
      await region.write(3 * PAGE, Buffer.from(text));
      await region.fence();
    };
    await region.read(0, 32 * PAGE);
    await write('first');
    const refused = await serve.run(['invalidate', 'r']);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('REGION_DIRTY')]);
    expect((await serve.json<RegionStat>(['stat', 'r'])).pages.present).toBe(32);
    const synced = await serve.json(['invalidate', 'r', '--sync']);
    expect(synced).toMatchObject({ pagesInvalidated: 32, pagesWritten: 1 });
    expect(
      readFileSync(file)
        .subarray(3 * PAGE, 3 * PAGE + 5)
        .toString(),
    ).toBe('first');
    await write('other');
    const text = (await serve.run(['invalidate', 'r', '--discard'])).stdout.toString();
    expect(text).toMatch(/^r: 1 page, 4 KiB, [\d.]+ ms\n$/);
    expect(Buffer.from(await region.read(3 * PAGE, 5)).toString()).toBe('first');

    await write('third');
    await region.read(0, PAGE);
    const kept = await serve.json<ReclaimReply>(['reclaim', 'r']);
    expect(kept).toMatchObject({ pagesReclaimed: 1, pagesDirty: 1, pagesWritten: 0 });
    expect(kept.elapsedMs).toBeGreaterThan(0);
    expect(await region.reclaim({ dirty: 'sync' })).toBe(1);
    await write('gone!');
    expect(await region.reclaim({ dirty: 'discard' })).toBe(1);
    expect(Buffer.from(await region.read(3 * PAGE, 5)).toString()).toBe('third');
    expect((await serve.run(['invalidate', 'r', '--sync', '--discard'])).code).toBe(2);
  });

  it('give plain memory its fill value back, which has no store to write to', async () => {
    const { appliance, url } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8 * PAGE, fill: 'one' });
    const region = await (await connectClient(url)).attach('r');
    await region.write(0, Buffer.from('x'));
    await region.fence();
    expect(await codeOf(() => region.invalidate({ dirty: 'sync' }))).toBe('ERR_REGION_DIRTY');
    expect(await appliance.invalidate('r', { dirty: 'discard' })).toMatchObject({
      pagesInvalidated: 1,
    });
    expect(Buffer.from(await region.read(0, 2))).toEqual(Buffer.from([0xff, 0xff]));
    expect((await region.stat()).pages).toMatchObject({ dirty: 0, written: 0 });
  });

  it('takes a kept region back to its last sync, or to its fill', async () => {
    const { appliance, url } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8 * PAGE, persist: true });
    const region = await (await connectClient(url)).attach('r');
    await region.write(0, Buffer.from('synced'));
    await region.sync();
    await region.write(0, Buffer.from('lately'));
    await region.write(PAGE, Buffer.from('lately'));
    await region.fence();
    expect(await region.invalidate({ dirty: 'discard' })).toBe(2);
    expect(Buffer.from(await region.read(0, 6)).toString()).toBe('synced');
    expect(Buffer.from(await region.read(PAGE, 2))).toEqual(Buffer.from([0, 0]));
  });
});
