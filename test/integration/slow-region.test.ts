/** A region that is stuck, and requests for it and for others. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';

const PAGE = 4096;
/** More than libuv has threads, by far. */
const PENDING = 8;
/** For those that are to wait, on however slow a machine. */
const timeoutMs = 120_000;

it('lets requests for other regions go on', async () => {
  const served = await serveAppliance();
  const { appliance, folder } = served;
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  onTestFinished(() => release());
  let held = 0;
  await appliance.create({
    name: 'stuck',
    size: 64 * PAGE,
    source: {
      fill: async (_, into) => void into.fill(1),
      writeBack: async () => {
        held += 1;
        await released;
      },
      timeoutMs,
    },
  });
  const client = await connectClient(served.url);
  const stuck = await client.attach('stuck');
  await stuck.write(0, Buffer.alloc(PAGE, 2));
  const syncs = Array.from({ length: PENDING }, () => stuck.sync({ timeoutMs }));
  await expect.poll(() => held).toBe(1);
  // These wait until nothing is on its way to the store.
  const discards = Array.from({ length: PENDING }, () =>
    stuck.invalidate({ offset: 32 * PAGE, length: PAGE, dirty: 'discard', timeoutMs }),
  );
  const reclaims = Array.from({ length: PENDING }, () =>
    stuck.reclaim({ offset: 32 * PAGE, length: PAGE, dirty: 'discard', timeoutMs }),
  );
  let ended = 0;
  const count = () => {
    ended += 1;
  };
  for (const each of [...syncs, ...discards, ...reclaims]) each.then(count, count);

  const file = join(folder, 'file');
  writeFileSync(file, Buffer.alloc(16 * PAGE));
  await appliance.create({ name: 'other', file });
  // A client of its own: one that waits for so much has no connection left.
  const others = await connectClient(served.url);
  const other = await others.attach('other');
  await other.write(0, Buffer.alloc(PAGE, 3));
  expect((await other.stat()).pages.dirty).toBe(1);
  expect((await other.sync()).pagesWritten).toBe(1);
  expect(await other.invalidate()).toBe(1);
  await other.protect('read');
  expect((await (await others.attach('stuck')).stat()).pages.dirty).toBe(1);
  expect(appliance.regions().map(({ name }) => name)).toEqual(['other', 'stuck']);
  expect(held).toBe(1);
  expect(ended).toBe(0);

  release();
  await Promise.all([...syncs, ...discards, ...reclaims]);
  expect((await stuck.stat()).pages.dirty).toBe(0);
  expect((await stuck.read(0, 1))[0]).toBe(2);
});
