/** Regions that nothing keeps: what a sync of them says, and what a start finds of them. */
import { expect, it } from 'vitest';
import type { Receipt, RestartReceipt } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { memoryFolder, pageOf } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

async function write(serve: ServeProcess, name: string): Promise<void> {
  const region = await (await connectClient(serve.ready.control)).attach(name);
  await region.write(0, pageOf(1));
  await region.fence();
}

it('promise nothing by a sync, and a clean start says that they begin anew', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  for (const name of ['kept', 'plain', 'untouched']) {
    const persist = name === 'kept' ? ['--persist'] : [];
    await first.run(['create', name, '--size', '1MiB', '--fill', 'one', ...persist]);
  }
  await write(first, 'plain');
  await write(first, 'kept');
  const receipt = await first.json<Receipt>(['sync', 'plain']);
  expect(receipt).toMatchObject({ pagesWritten: 0, bytesWritten: 0, durable: false });
  expect(receipt.epoch).toBeUndefined();
  const told = (await first.run(['sync', 'plain', 'kept'])).stdout.toString();
  expect(told).toMatch(/^plain: .*, not durable: nothing keeps .*\nkept: 1 page.*, durable\n$/);
  const client = await connectClient(first.ready.control);
  const mine = await client.allocate({ size: 2 ** 20 });
  await mine.write(0, pageOf(1));
  expect(await mine.sync()).toMatchObject({ pagesWritten: 0, durable: false });
  expect((await mine.stat()).pages.dirty).toBe(1);
  await client.close();
  expect(await first.end()).toBe(0);
  const second = await ServeProcess.start(folder);
  const found = (name: string) => second.json<RestartReceipt>(['receipt', name]);
  expect(await found('plain')).toMatchObject({ persist: false, start: 'clean', lostSince: 0 });
  expect(await found('kept')).toMatchObject({ persist: true, start: 'clean', lostSince: null });
  expect(await found('untouched')).toMatchObject({ start: 'first', lostSince: null });
  const text = (await second.run(['receipt', 'plain', 'kept'])).stdout.toString();
  expect(text).toMatch(
    /^plain: closed when .*begins anew.*\nkept: closed when it was used last, .*nothing lost\n$/,
  );
  // The loss has made the next number, but nobody has synced.
  expect(text).toMatch(/^plain: .*, no sync since, .*\nkept: .*, sync 1, /);
  const untouched = (await second.run(['receipt', 'untouched'])).stdout.toString();
  expect(untouched).toMatch(/^untouched: used by no process before, /);
  const region = await (await connectClient(second.ready.control)).attach('plain');
  expect((await region.read(0, 4096)).every((byte) => byte === 0xff)).toBe(true);
});

it('come back from a memory directory, which no loss of power leaves', async () => {
  const folder = scratch();
  const words = ['--memory-dir', memoryFolder()];
  const first = await ServeProcess.start(folder, words);
  await first.run(['create', 'plain', '--size', '1MiB']);
  await write(first, 'plain');
  expect(await first.json(['sync', 'plain'])).toMatchObject({ durable: false });
  expect(await first.end()).toBe(0);
  const second = await ServeProcess.start(folder, words);
  const receipt = await second.json<RestartReceipt>(['receipt', 'plain']);
  expect(receipt).toMatchObject({ start: 'clean', memory: 'adopted', lostSince: null });
  expect(receipt.kept).toMatchObject({ dirty: 1 });
});

it('have lost nothing with a process that died where nobody could write to them', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  for (const name of ['read', 'written']) {
    await first.run(['create', name, '--size', '1MiB', '--persist']);
    await write(first, name);
    expect(await first.json(['sync', name])).toMatchObject({ durable: true, epoch: 1 });
  }
  expect(await first.end()).toBe(0);
  const second = await ServeProcess.start(folder);
  const client = await connectClient(second.ready.control);
  const read = await client.attach('read', { access: 'read-only' });
  expect(Buffer.from(await read.read(0, 4096))).toEqual(pageOf(1));
  await client.attach('written');
  await second.end('SIGKILL');
  const third = await ServeProcess.start(folder);
  const found = (name: string) => third.json<RestartReceipt>(['receipt', name]);
  const unclean = { start: 'unclean', epoch: 1 };
  expect(await found('read')).toMatchObject({ ...unclean, lostSince: null, lastLoss: null });
  expect(await found('written')).toMatchObject({ start: 'unclean', lostSince: 1, lastLoss: 1 });
});
