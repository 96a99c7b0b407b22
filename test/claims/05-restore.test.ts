import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { emptyFolder, memoryFolder } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const WRITTEN = 3 * 2 ** 30;

describe('promise 5: after a restart a region is restored', () => {
  it('page by page, and what was never written is filled without a look at its store', async () => {
    const folder = scratch();
    const first = await ServeProcess.start(folder);
    await first.json(['create', 'notes', '--size', '4GiB', '--fill', 'one', '--persist']);
    const before = await (await connectClient(first.ready.control)).attach('notes');
    await before.read(0, 4096); // initialised, never written
    await before.write(WRITTEN, Buffer.from('kept'));
    await before.sync();
    // Memory goes with the process, as it does with a machine that loses its power.
    await first.end('SIGKILL');

    const second = await ServeProcess.start(folder);
    const idle = await second.json<RegionStat>(['stat', 'notes']);
    expect(idle).toMatchObject({ state: 'idle', pages: { present: 0 }, fills: { read: 0 } });
    const region = await (await connectClient(second.ready.control)).attach('notes');
    const unwritten = Buffer.from(await region.read(0, 8192));
    expect(unwritten.every((byte) => byte === 0xff)).toBe(true);
    expect((await region.stat()).fills).toMatchObject({ pages: 2, read: 0 });
    expect(Buffer.from(await region.read(WRITTEN, 4)).toString()).toBe('kept');
    const rest = Buffer.from(await region.read(WRITTEN + 4, 4092));
    expect(rest.every((byte) => byte === 0xff)).toBe(true);
    expect((await region.stat()).fills).toMatchObject({ pages: 3, read: 1 });
  });

  it('the same after the machine was started again, between written pages too', async () => {
    const folder = scratch();
    const memory = memoryFolder();
    const first = await ServeProcess.start(folder, ['--memory-dir', memory]);
    await first.json(['create', 'notes', '--size', '1TiB', '--fill', 'one', '--persist']);
    const before = await (await connectClient(first.ready.control)).attach('notes');
    for (const page of [3, 5]) await before.write(page * 4096, Buffer.alloc(4096, page));
    await before.sync();
    await before.write(5 * 4096, Buffer.alloc(4096, 9)); // and never synced
    await before.fence();
    await first.end('SIGKILL');
    // Nothing of a tmpfs outlives the machine, and the kernel gives the start another name.
    emptyFolder(memory);
    const options = { memoryDirectory: memory, bootId: 'another' };
    const second = await serveAppliance(options, folder);
    const region = await (await connectClient(second.url)).attach('notes');
    const found = Buffer.from(await region.read(0, 9 * 4096));
    const bytes = Array.from({ length: 9 }, (_, page) => found[page * 4096 + 7]);
    expect(bytes).toEqual([0xff, 0xff, 0xff, 3, 0xff, 5, 0xff, 0xff, 0xff]);
    // Of nine pages two were read: those that had been written.
    expect((await region.stat()).fills).toMatchObject({ pages: 9, read: 2 });
    expect(await region.receipt()).toMatchObject({ memory: 'made', restored: 2, filled: 7 });
    expect(await region.receipt()).toMatchObject({ start: 'unclean', lostSince: 1 });
  });

  it('has what was never synced too when the appliance was told to end', async () => {
    const folder = scratch();
    const first = await ServeProcess.start(folder);
    await first.json(['create', 'notes', '--size', '1MiB', '--persist']);
    const before = await (await connectClient(first.ready.control)).attach('notes');
    await before.write(5000, Buffer.from('kept'));
    expect(await first.end('SIGTERM')).toBe(0);
    const second = await ServeProcess.start(folder);
    const region = await (await connectClient(second.ready.control)).attach('notes');
    expect(Buffer.from(await region.read(5000, 4)).toString()).toBe('kept');
  });

  it('takes room for what was written alone, and gives it back with rm', async () => {
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    await serve.json(['create', 'notes', '--size', '1TiB', '--persist']);
    const region = await (await connectClient(serve.ready.control)).attach('notes');
    await region.write(2 ** 39, Buffer.from('x'));
    await region.sync();
    const kept = join(folder, 'state', 'regions');
    const [name = ''] = readdirSync(kept);
    expect(statSync(join(kept, name)).blocks * 512).toBeLessThan(64 * 1024);
    expect((await serve.run(['rm', 'notes'])).code).toBe(0);
    expect(readdirSync(kept)).toEqual([]);
  });
});
