import { expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { independentView } from '../helpers/independent-view.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 16 * 2 ** 20;

it.each([
  ['--memory', '1MiB'],
  ['--resident', '64KiB'],
])('promise 14: a region works with %s %s for 16 MiB of file', async (option, bound) => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const frames = bound === '1MiB' ? 256 : 16;
  const serve = await ServeProcess.start(folder, [`r=${file}`, option, bound]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  const expected = patternOf(LENGTH);
  const stat = async () => await serve.json<RegionStat>(['stat', 'r']);
  expect((await stat()).frames.max).toBe(frames);
  for (let round = 0; round < 2; round += 1) {
    for (let offset = 0; offset < LENGTH; offset += 2 ** 20) {
      const bytes = await region.read(offset, 2 ** 20);
      expect(Buffer.compare(bytes, expected.subarray(offset, offset + 2 ** 20))).toBe(0);
    }
    const { pages, frames: used } = await stat();
    expect(pages.present).toBeLessThanOrEqual(frames);
    expect(used.used).toBeLessThanOrEqual(frames);
  }
  // Written pages are kept whatever else is read, and are all that a sync writes.
  await region.write(5 * 4096 + 1, Buffer.from('kept'));
  expected.write('kept', 5 * 4096 + 1);
  await region.read(2 ** 20, 2 ** 20);
  expect(Buffer.from(await region.read(5 * 4096 + 1, 4)).toString()).toBe('kept');
  expect((await region.sync()).pagesWritten).toBe(1);
  expect(Buffer.compare(await independentView(file), expected)).toBe(0);
});
