import { fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { Receipt, RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGES = 4096;
const LENGTH = PAGES * 4096;

/** Bytes that the process had sent towards a device (proc_pid_io). */
function deviceBytes(pid: number): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

it('promise 12: portions that were written are tracked, and only they reach the file', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const expected = patternOf(LENGTH);
  const serve = await ServeProcess.start(folder, [`r=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.read(0, LENGTH);
  const places = Array.from({ length: 100 }, (_, index) => index * 41 * 4096 + 17 * index);
  await Promise.all(
    places.map(async (offset, index) => {
      const bytes = patternOf(50, index);
      bytes.copy(expected, offset);
      await region.write(offset, bytes);
    }),
  );
  const { pages } = await serve.json<RegionStat>(['stat', 'r']);
  expect(pages).toMatchObject({ dirty: 100, written: 100, present: PAGES });
  // Another program changes all clean pages behind our back: a sync must not touch them.
  const dirty = new Set(places.map((offset) => Math.floor(offset / 4096)));
  const descriptor = openSync(file, 'r+');
  for (let page = 0; page < PAGES; page += 1) {
    if (dirty.has(page)) continue;
    expected.fill(page & 0xff, page * 4096, (page + 1) * 4096);
    writeSync(descriptor, expected, page * 4096, 4096, page * 4096);
  }
  // What that program left in the page cache would else go out with our fdatasync.
  fsyncSync(descriptor);
  const before = deviceBytes(serve.ready.pid);
  const receipt = await serve.json<Receipt>(['sync', 'r']);
  expect(receipt).toMatchObject({ pagesWritten: 100, bytesWritten: 100 * 4096, durable: true });
  expect(deviceBytes(serve.ready.pid) - before).toBe(100 * 4096);
  expect(Buffer.compare(readFileSync(file), expected)).toBe(0);
  const again = await serve.json<Receipt>(['sync', 'r']);
  expect(again).toMatchObject({ pagesWritten: 0, bytesWritten: 0 });
  expect((await serve.json<RegionStat>(['stat', 'r'])).pages.dirty).toBe(0);
});
