import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { memoryFolder } from '../helpers/crash.js';
import { mount, NO_MOUNT } from '../helpers/mounted-disk.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const pageOf = (byte: number) => Buffer.alloc(4096, byte);

it('does not take a file system without a bound for a full one', async (context) => {
  const memoryDirectory = mount('-t', 'tmpfs', '-o', 'size=0', 'tmpfs');
  if (memoryDirectory === undefined) return context.skip(NO_MOUNT);
  const { appliance, url } = await serveAppliance({ memoryDirectory });
  await appliance.create({ name: 'r', size: 2 ** 20 });
  const region = await (await connectClient(url)).attach('r');
  await region.write(0, pageOf(1));
  expect(await region.stat()).toMatchObject({ state: 'ready', pages: { dirty: 1 } });
  expect(await region.stat()).not.toHaveProperty('error');
});

it('is named when it is full, and not the file of the region', async (context) => {
  const memoryDirectory = mount('-t', 'tmpfs', '-o', 'size=1M', 'tmpfs');
  if (memoryDirectory === undefined) return context.skip(NO_MOUNT);
  const folder = scratch();
  const file = patternFile(folder, { length: 65_536 });
  const before = await serveAppliance({}, folder);
  await before.appliance.create({ name: 'r', file, kind: 'staged' });
  await before.appliance.close();
  expect(() => writeFileSync(join(memoryDirectory, 'x'), Buffer.alloc(2 ** 21))).toThrow('ENOSPC');
  const { url, control } = await serveAppliance({ memoryDirectory }, folder);
  const full = { code: 'ERR_NO_SPACE', message: expect.stringContaining(memoryDirectory) };
  await expect((await connectClient(url)).attach('r')).rejects.toMatchObject(full);
  const { state, error } = await control.call('stat', { params: { region: 'r' } });
  expect([state, error]).toMatchObject(['unavailable', full]);
  expect(error?.message).not.toContain(file);
});

it('goes on when somebody removes the memory directory', async () => {
  const memoryDirectory = memoryFolder();
  const { appliance, control, url } = await serveAppliance({ memoryDirectory });
  await appliance.create({ name: 'r', size: 2 ** 20 });
  const first = await (await connectClient(url)).attach('r');
  await first.write(0, pageOf(1));
  rmSync(memoryDirectory, { recursive: true });
  expect(appliance.regions()).toMatchObject([{ name: 'r', state: 'ready' }]);
  expect(await first.stat()).not.toHaveProperty('error');
  const second = await (await connectClient(url)).attach('r', { carve: true });
  expect(pageOf(1).equals(await second.read(0, 4096))).toBe(true);
  await second.write(4096, pageOf(2));
  expect(pageOf(2).equals(await first.read(4096, 4096))).toBe(true);
  const remove = { params: { region: 'r' }, query: { dirty: 'discard' } } as const;
  expect(await control.call('remove', remove)).toMatchObject({ removed: true });
});

it('ends well, and says what stays, when a region cannot be opened that has memory', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const words = ['--memory-dir', memory];
  const first = await ServeProcess.start(folder, words);
  const client = await connectClient(first.ready.control);
  const fileOf = (name: string) => join(folder, name);
  for (const name of ['gone', 'here']) {
    writeFileSync(fileOf(name), Buffer.alloc(2 ** 20));
    await first.json(['create', name, '--file', fileOf(name), '--atomic']);
    const region = await client.attach(name);
    await region.write(0, pageOf(1));
    await region.fence();
  }
  await first.end('SIGKILL');
  renameSync(fileOf('gone'), fileOf('away'));
  const second = await ServeProcess.start(folder, words);
  expect(await second.end()).toBe(0);
  expect(second.stderr).toContain(`1 page of gone not written, kept in ${memory}`);
  expect(second.stderr).toContain(fileOf('gone'));
  expect(readFileSync(fileOf('here')).subarray(0, 4096).equals(pageOf(1))).toBe(true);
  renameSync(fileOf('away'), fileOf('gone'));
  const third = await serveAppliance({ memoryDirectory: memory }, folder);
  expect(third.appliance.start).toMatchObject({ start: 'clean', inMemory: 2 });
  expect(await third.appliance.close()).toEqual([]);
  expect(readFileSync(fileOf('gone')).subarray(0, 4096).equals(pageOf(1))).toBe(true);
});
