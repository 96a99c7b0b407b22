import { expect, it } from 'vitest';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

it("promise 9: a region of a file is the client's external primary memory", async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 2 ** 20 });
  const serve = await ServeProcess.start(folder, [`r=${file}`]);
  const one = await (await connectClient(serve.ready.control)).attach('r');
  const two = await (await connectClient(serve.ready.control)).attach('r');
  const expected = patternOf(2 ** 20);
  // Loads and stores of any size at any byte, as with memory; the file keeps its old bytes.
  for (const [offset, length] of [
    [0, 1],
    [4095, 2],
    [12_345, 7],
    [65_535, 8193],
  ] as const) {
    const bytes = patternOf(length, offset);
    await one.write(offset, bytes);
    bytes.copy(expected, offset);
    expect(Buffer.compare(two.readSync(offset, length), bytes)).toBe(0);
  }
  // Both clients count in one word, each addition exactly once.
  await one.write(524_288, new Uint8Array(8));
  const adds = Array.from({ length: 500 }, (_, at) => (at % 2 ? one : two).fetchAdd(524_288, 3n));
  const seen = await Promise.all(adds);
  expect(new Set(seen).size).toBe(500);
  expect(await two.compareSwap(524_288, 1500n, 0n)).toBe(1500n);
  expected.fill(0, 524_288, 524_296);
  expect(Buffer.compare(await one.read(0, 2 ** 20), expected)).toBe(0);
});
