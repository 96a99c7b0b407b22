import { fsyncSync, openSync, writeSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import type { Receipt, RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { counterOf, deviceBytes } from '../helpers/device.js';
import { independentView } from '../helpers/independent-view.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGES = 4096;
const LENGTH = PAGES * 4096;
const DIRTY = 100;
/** Others write to the same device: the quietest of so many rounds counts. */
const ROUNDS = 8;
/** Metadata of the file system around the pages themselves. */
const METADATA_BYTES_MAX = 64 * 4096;

const PLACES = Array.from({ length: DIRTY }, (_, index) => index * 41 * 4096 + 17 * index);

async function writeScattered(region: ExternalRegion, expected: Buffer, seed: number) {
  await Promise.all(
    PLACES.map(async (offset, index) => {
      const bytes = patternOf(50, seed + index);
      bytes.copy(expected, offset);
      await region.write(offset, bytes);
    }),
  );
}

it('promise 12: portions that were written are tracked, and only they reach the file', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const expected = patternOf(LENGTH);
  const serve = await ServeProcess.start(folder, [`r=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.read(0, LENGTH);
  await writeScattered(region, expected, 0);
  const { pages } = await serve.json<RegionStat>(['stat', 'r']);
  expect(pages).toMatchObject({ dirty: DIRTY, written: DIRTY, present: PAGES });
  // Another program changes all clean pages behind our back: a sync must not touch them.
  const dirty = new Set(PLACES.map((offset) => Math.floor(offset / 4096)));
  const descriptor = openSync(file, 'r+');
  for (let page = 0; page < PAGES; page += 1) {
    if (dirty.has(page)) continue;
    expected.fill(page & 0xff, page * 4096, (page + 1) * 4096);
    writeSync(descriptor, expected, page * 4096, 4096, page * 4096);
  }
  const receipt = await serve.json<Receipt>(['sync', 'r']);
  expect(receipt).toMatchObject({ pagesWritten: DIRTY, bytesWritten: DIRTY * 4096, durable: true });
  expect(Buffer.compare(await independentView(file), expected)).toBe(0);
  const again = await serve.json<Receipt>(['sync', 'r']);
  expect(again).toMatchObject({ pagesWritten: 0, bytesWritten: 0 });
  expect((await serve.json<RegionStat>(['stat', 'r'])).pages.dirty).toBe(0);
});

it('promise 12: the device counts the dirty pages and no others', async (context) => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const counter = counterOf(file);
  if (counter === undefined) return context.skip('the temporary directory is on no block device');
  fsyncSync(openSync(file, 'r+'));
  const serve = await ServeProcess.start(folder, [`r=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  // Everything is present, and in the page cache in whatever folios the kernel likes.
  await region.read(0, LENGTH);
  const grown: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await writeScattered(region, Buffer.alloc(LENGTH), round);
    const before = deviceBytes(counter);
    expect((await region.sync()).bytesWritten).toBe(DIRTY * 4096);
    grown.push(deviceBytes(counter) - before);
  }
  const quietest = Math.min(...grown);
  expect(quietest).toBeGreaterThanOrEqual(DIRTY * 4096);
  expect(quietest).toBeLessThanOrEqual(DIRTY * 4096 + METADATA_BYTES_MAX);
});
