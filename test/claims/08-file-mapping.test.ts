import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

interface Mapping {
  readonly from: bigint;
  readonly to: bigint;
  readonly offset: bigint;
  readonly path: string;
}

function mappingsOf(pid: number): Mapping[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [range = '', , offset = '', , , path = ''] = line.split(/\s+/);
    const [from = '', to = ''] = range.split('-');
    return {
      from: BigInt(`0x${from}`),
      to: BigInt(`0x${to}`),
      offset: BigInt(`0x${offset}`),
      path,
    };
  });
}

const LENGTH = 64 * 4096 + 100;

it.each([
  ['all of a file', [], 0, LENGTH],
  ['a part of a file', ['--offset', '32K', '--length', '16K'], 32_768, 16_384],
])('promise 8: %s is mapped at the address that is registered', async (_, words, begin, size) => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder);
  const client = await connectClient(serve.ready.control);
  expect(await codeOf(() => client.attach('r'))).toBe('ERR_NO_SUCH_REGION');
  await serve.json(['create', 'r', '--file', file, ...words]);
  // Registration is what gives access: the STag comes from it, and only then are there bytes.
  const region = await client.attach('r');
  const bytes = await region.read(0, region.size);
  expect(Buffer.compare(bytes, patternOf(LENGTH).subarray(begin, begin + size))).toBe(0);
  const stat = await serve.json<RegionStat>(['stat', 'r']);
  const address = BigInt(stat.address ?? 0);
  const found = mappingsOf(serve.ready.pid).filter(({ path }) => path === file);
  const at = found.find(({ from, to }) => from <= address && address < to);
  expect(at).toBeDefined();
  expect(at!.offset + (address - at!.from)).toBe(BigInt(begin));
  const end = found.reduce((last, { from, to }) => (from === last ? to : last), at!.to);
  expect(end).toBeGreaterThanOrEqual(address + BigInt(size));
});
