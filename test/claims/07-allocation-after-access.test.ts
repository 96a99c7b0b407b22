import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const TIB = 2 ** 40;

/** What of a process a region of `size` bytes could not be allocated without. */
function takenBy(pid: number, size: number) {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n');
  const lengths = lines.map((line) => {
    const [from = '', to = ''] = (line.split(' ')[0] ?? '').split('-');
    return Number(BigInt(`0x${to}`) - BigInt(`0x${from}`));
  });
  return {
    ranges: lengths.filter((length) => length >= size).length,
    memories: lines.filter((line) => line.includes('farpage-region')).length,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

describe('promise 7: a region may be allocated after its client has got access to it', () => {
  it('takes nothing while it is only reserved, and is allocated by the first touch', async () => {
    const serve = await ServeProcess.start(scratch());
    const { pid, control } = serve.ready;
    // The queue pair is connected before there is anything to reach by it.
    const client = await connectClient(control);
    await client.regions();
    const before = takenBy(pid, TIB);
    expect(before).toMatchObject({ ranges: 0, memories: 0 });
    const region = await client.reserve({ name: 'r', size: TIB, fill: 'one' });
    expect(await region.stat()).toMatchObject({
      state: 'reserved',
      address: null,
      reservedBytes: TIB,
      allocatedBytes: 0,
      pages: { total: TIB / 4096, present: 0 },
    });
    // The record of its start is being made durable, which takes a descriptor for that while.
    await expect.poll(() => takenBy(pid, TIB), { timeout: 5000 }).toEqual(before);
    // Nobody but the first operation asks for it: no call of the control plane.
    const at = 700 * 2 ** 30 + 1;
    expect([...(await region.read(at, 3))]).toEqual([255, 255, 255]);
    expect(takenBy(pid, TIB)).toMatchObject({ ranges: 1, memories: 1 });
    const stat = await serve.json<RegionStat>(['stat', 'r']);
    expect(stat).toMatchObject({ state: 'ready', allocatedBytes: TIB, pages: { present: 1 } });
    expect(stat.operations).toEqual({ bypassed: 0, faulted: 1, bytes: 3 });
    await region.write(at, Buffer.from('far'));
    expect(Buffer.from(await region.read(at, 3)).toString()).toBe('far');
    expect((await serve.run(['rm', 'r', '--discard'])).code).toBe(0);
    expect(await codeOf(() => region.read(at, 3))).toBe('ERR_REGION_REMOVED');
    expect(takenBy(pid, TIB)).toMatchObject({ ranges: 0, memories: 0 });
  });

  it('also with a file, which is opened, locked and mapped then', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 40_000 });
    const serve = await ServeProcess.start(folder);
    await serve.json(['create', 'r', '--file', file, '--reserve']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const mapped = () => readFileSync(`/proc/${serve.ready.pid}/maps`, 'utf8').includes(file);
    expect(mapped()).toBe(false);
    expect(await region.stat()).toMatchObject({ state: 'reserved', allocatedBytes: 0 });
    const bytes = await region.read(12_345, 20_000);
    expect(Buffer.compare(bytes, patternOf(40_000).subarray(12_345, 32_345))).toBe(0);
    expect(mapped()).toBe(true);
    expect(await region.stat()).toMatchObject({ state: 'ready', allocatedBytes: 40_000 });
  });
});
