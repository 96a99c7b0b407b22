/** Region objects over restarts of the appliance: the same region, another one, or none for now. */
import { readFileSync, renameSync, truncateSync } from 'node:fs';
import { expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 2 ** 20;

async function attachedTo(name: 'a' | 'b') {
  const folder = scratch();
  const files = { a: '', b: '' };
  for (const each of ['a', 'b'] as const) {
    files[each] = patternFile(folder, { length: LENGTH, name: each });
  }
  const first = await ServeProcess.start(folder, [`r=${files[name]}`]);
  const client = await connectClient(first.ready.control);
  const region = await client.attach('r');
  expect((await region.read(0, 4)).length).toBe(4);
  return { folder, files, first, client, region };
}

it('a loss is told also where the appliance has ended well since', async () => {
  const { folder, files, first, region } = await attachedTo('a');
  await region.write(0, Buffer.from('gone with the first process'));
  await first.end('SIGKILL');
  const second = await ServeProcess.start(folder, [`r=${files.a}`]);
  const other = await (await connectClient(second.ready.control)).attach('r');
  await other.write(8192, Buffer.from('of somebody else'));
  expect(await second.end()).toBe(0);
  await ServeProcess.start(folder, [`r=${files.a}`]);
  const lost = region.sync();
  await expect(lost).rejects.toMatchObject({ code: 'ERR_WRITES_LOST' });
  await expect(lost).rejects.toThrow('what was written to r after sync 0');
  expect(await codeOf(() => region.sync())).toBe('nothing');
  expect(Buffer.from(await region.read(8192, 4)).toString()).toBe('of s');
});

it('losses of several regions are told together', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  const client = await connectClient(first.ready.control);
  const regions = ['a', 'b', 'c'].map((name) =>
    client.allocate({ name, size: 8192, persist: true }),
  );
  const [a, b, c] = await Promise.all(regions);
  for (const region of [a, b]) await region?.write(0, Buffer.from('gone'));
  await first.end('SIGKILL');
  await ServeProcess.start(folder);
  const all = [a!, b!, c!];
  await expect(client.sync(all)).rejects.toThrow(
    'what was written to a after sync 0, and to b after sync 0',
  );
  expect(await codeOf(() => client.sync(all))).toBe('nothing');
});

it('one whose name stands for another region is over, and writes nothing there', async () => {
  const { folder, files, first, client, region } = await attachedTo('a');
  await first.end();
  const second = await ServeProcess.start(folder, [`r=${files.b}`]);
  const gone = 'ERR_REGION_REMOVED';
  await expect(region.write(0, Buffer.from('meant for a'))).rejects.toMatchObject({
    code: gone,
    message: expect.stringContaining('another region is called r now'),
  });
  expect(await codeOf(() => region.read(0, 4))).toBe(gone);
  expect(await codeOf(() => region.readSync(0, 4))).toBe(gone);
  expect(await codeOf(() => region.sync())).toBe(gone);
  const now = await client.attach('r');
  await now.write(4096, Buffer.from('meant for b'));
  await now.sync();
  expect(await second.end()).toBe(0);
  expect(readFileSync(files.b).subarray(0, 16)).toEqual(patternOf(16));
  expect(readFileSync(files.b).subarray(4096, 4107).toString()).toBe('meant for b');
});

it('so is one that was removed and made again while its client was away', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'r', '--size', '1MiB', '--persist']);
  const region = await (await connectClient(first.ready.control)).attach('r', { carve: true });
  await region.write(0, Buffer.from('old'));
  await first.end();
  const second = await ServeProcess.start(folder);
  await second.run(['rm', 'r']);
  await second.json(['create', 'r', '--size', '1MiB', '--persist']);
  expect(await codeOf(() => region.read(0, 4))).toBe('ERR_REGION_REMOVED');
  // Nor has its session anything of the new one.
  const carver = await connectClient(second.ready.control);
  expect((await carver.attach('r', { carve: true })).carve).toBe(true);
});

it('its slabs go on where nobody else has carved since', async () => {
  const folder = scratch();
  let serve = await ServeProcess.start(folder);
  const client = await connectClient(serve.ready.control);
  const region = await client.allocate({ name: 'r', size: 8192, persist: true });
  const slab = region.allocate(64);
  await slab.write(0, Buffer.from('kept'));
  await region.sync();
  for (let starts = 0; starts < 2; starts += 1) {
    await serve.end();
    serve = await ServeProcess.start(folder);
    expect(Buffer.from(await slab.read(0, 4)).toString()).toBe('kept');
    expect(region.allocate(64).offset).toBe(64 * (starts + 1));
  }
});

it('its slabs are over where somebody else has carved since', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'r', '--size', '8KiB', '--persist']);
  const client = await connectClient(first.ready.control);
  const region = await client.attach('r', { carve: true });
  const slab = region.allocate(64);
  const unused = await connectClient(first.ready.control);
  await first.end();
  const second = await ServeProcess.start(folder);
  const carver = await connectClient(second.ready.control);
  const place = (await carver.attach('r', { carve: true })).allocate(64);
  await place.write(0, Buffer.from('of somebody else'));
  await carver.close();
  await expect(slab.write(0, Buffer.from('mine'))).rejects.toMatchObject({
    code: 'ERR_REGION_CARVED',
    message: expect.stringContaining('r, since this client lost its session'),
  });
  expect(await codeOf(() => region.allocate(64))).toBe('ERR_REGION_CARVED');
  const again = await unused.attach('r', { carve: true });
  expect(Buffer.from(await again.read(0, 16)).toString()).toBe('of somebody else');
});

it('one that nothing keeps is the same one, and begins anew', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'r', '--size', '1MiB', '--fill', 'one']);
  const region = await (await connectClient(first.ready.control)).attach('r');
  await region.write(0, Buffer.from('old'));
  await first.end('SIGKILL');
  await ServeProcess.start(folder);
  expect(Buffer.from(await region.read(0, 3))).toEqual(Buffer.alloc(3, 0xff));
  expect(await codeOf(() => region.sync())).toBe('ERR_WRITES_LOST');
});

it('one of less than there was says so, and breaks no connection', async () => {
  const { folder, files, first, client, region } = await attachedTo('a');
  const other = await client.create({ name: 'k', size: 4096, persist: true });
  const kept = await client.attach(other.name);
  await first.end();
  truncateSync(files.a, LENGTH / 2);
  await ServeProcess.start(folder, [`r=${files.a}`]);
  const reads = [region.read(LENGTH - 8, 8), region.read(0, 8)];
  for (const read of reads) {
    await expect(read).rejects.toMatchObject({
      code: 'ERR_FILE_CHANGED',
      message: expect.stringContaining(`r has ${LENGTH / 2} of ${LENGTH} bytes left`),
    });
  }
  expect(await codeOf(() => kept.read(0, 8))).toBe('nothing');
});

it('one that could not be attached again is tried again by each operation', async () => {
  const { folder, files, first, region } = await attachedTo('a');
  await first.end();
  const again = ['create', 'r', '--file', files.a];
  // In the catalog, so that a start goes on without its file.
  const second = await ServeProcess.start(folder);
  await second.json(again);
  expect(Buffer.from(await region.read(0, 16))).toEqual(patternOf(16));
  await second.end();
  renameSync(files.a, `${files.a}.away`);
  const third = await ServeProcess.start(folder);
  const away = 'ERR_FILE_NOT_FOUND';
  expect(await codeOf(() => region.read(0, 4))).toBe(away);
  expect(await codeOf(() => region.write(0, Buffer.from('x')))).toBe(away);
  expect(await codeOf(() => region.readSync(0, 4))).toBe(away);
  renameSync(`${files.a}.away`, files.a);
  expect(Buffer.from(await region.read(0, 16))).toEqual(patternOf(16));
  await region.write(0, Buffer.from('back'));
  expect(await region.sync()).toMatchObject({ pagesWritten: 1, durable: true });
  await third.end();
  expect(readFileSync(files.a).subarray(0, 4).toString()).toBe('back');
});

it('calls about one whose name is another one by now are refused', async () => {
  const { url } = await serveAppliance();
  const client = await connectClient(url);
  const old = await client.allocate({ name: 'x', size: '1MiB' });
  await old.write(0, Buffer.from('old'));
  const other = await connectClient(url);
  await other.remove('x', { dirty: 'discard' });
  const now = await other.allocate({ name: 'x', size: '2MiB' });
  await now.write(0, Buffer.from('new'));
  for (const call of [
    () => old.stat(),
    () => old.sync(),
    () => client.sync([old]),
    () => old.invalidate({ dirty: 'discard' }),
    () => old.protect('none'),
    () => old.pin(),
    () => old.pageMap(),
    () => old.provenance().next(),
    () => old.workingSet.stat(),
  ]) {
    expect(await codeOf(call)).toBe('ERR_REGION_REMOVED');
  }
  expect(Buffer.from(await now.read(0, 3)).toString()).toBe('new');
  expect(await now.protection()).toEqual([]);
});

it('what is under way when a region is detached ends well, as do others', async () => {
  const { url } = await serveAppliance();
  const client = await connectClient(url);
  const [going, staying] = [
    await client.allocate({ size: '4MiB' }),
    await client.allocate({ size: 4096 }),
  ];
  const begun: Promise<unknown>[] = [];
  for (let n = 0; n < 600; n += 1) {
    begun.push(going.read(n * 4096, 4096), going.write(n * 4096, Buffer.alloc(512, n)));
    begun.push(staying.fetchAdd(0, 1n));
  }
  const detached = going.detach();
  expect(await codeOf(() => going.read(0, 8))).toBe('ERR_CLOSED');
  await detached;
  const ends = await Promise.allSettled(begun);
  expect(ends.filter(({ status }) => status === 'rejected')).toEqual([]);
  expect(await staying.fetchAdd(0, 0n)).toBe(600n);
});
