import { mkdtempSync, rmSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { mount, NO_MOUNT } from '../helpers/mounted-disk.js';

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

it('goes on when somebody removes the memory directory', async () => {
  const memoryDirectory = mkdtempSync('/dev/shm/farpage-test-');
  onTestFinished(() => rmSync(memoryDirectory, { recursive: true, force: true }));
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
