import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { InvalidateReply, Protection, RegionStat } from '../../src/control/schema.js';
import { FabricError } from '../../src/errors.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const LENGTH = 64 * PAGE;
/** RFC 5040 section 4.8: remote protection error, access rights violation. */
const VIOLATION = { layer: 0, type: 1, code: 2 };

describe('promise 6: the region access unit sets and clears the indicators', () => {
  it('of presence: the interface takes a portion for uninitialised', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const serve = await ServeProcess.start(folder, [`r=${file}`, '--read-ahead', '0']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    await region.read(0, LENGTH);
    await region.read(8 * PAGE, 10);
    const before = await serve.json<RegionStat>(['stat', 'r']);
    expect(before.pages.present).toBe(64);

    // What another program has written meanwhile is what the next touch finds.
    const other = patternOf(LENGTH, 1);
    writeFileSync(file, other);
    const range = ['--offset', '32K', '--length', '16K'];
    const reply = await serve.json<InvalidateReply>(['invalidate', 'r', ...range]);
    expect(reply).toMatchObject({ region: 'r', pagesInvalidated: 4, pagesWritten: 0 });
    const stat = await serve.json<RegionStat>(['stat', 'r']);
    expect(stat.pages.present).toBe(60);
    const again = Buffer.from(await region.read(8 * PAGE, 4 * PAGE));
    expect(Buffer.compare(again, other.subarray(8 * PAGE, 12 * PAGE))).toBe(0);
    await region.read(0, 10);
    const after = await serve.json<RegionStat>(['stat', 'r']);
    expect(after.operations.faulted).toBe(before.operations.faulted + 1);
    expect(after.operations.bypassed).toBe(before.operations.bypassed + 1);
    expect(after.fills.pages).toBe(before.fills.pages + 4);
  });

  it('of permission: it takes it for readable, for writable, or for neither', async () => {
    const serve = await ServeProcess.start(scratch());
    await serve.json(['create', 'r', '--size', '1TiB']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const far = 700 * 2 ** 30;
    await region.write(far, Buffer.from('here'));
    const protect = async (access: string, offset: number, length: number) => {
      const range = ['--offset', String(offset), '--length', String(length)];
      return await serve.json<Protection>(['protect', 'r', '--access', access, ...range]);
    };
    // One page of bytes, and one that has never been touched.
    await protect('read', far, 2 * PAGE);
    for (const offset of [far, far + PAGE]) {
      expect(Buffer.from(await region.read(offset, 4)).toString()).toBe(
        offset === far ? 'here' : '\0\0\0\0',
      );
      await expect(
        region.write(offset, Buffer.from('x')).then(() => region.fence()),
      ).rejects.toThrow(expect.objectContaining({ code: 'ERR_ACCESS' }));
      expect(await codeOf(() => region.fetchAdd(offset, 1n))).toBe('ERR_ACCESS');
    }
    const { ranges } = await protect('none', far, PAGE);
    expect(ranges).toEqual([
      { offset: far, length: PAGE, access: 'none' },
      { offset: far + PAGE, length: PAGE, access: 'read' },
    ]);
    const refused = await region.read(far, 4).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FabricError);
    expect(refused).toMatchObject({ code: 'ERR_ACCESS', rdmap: VIOLATION });
    expect(Buffer.from(await region.read(far - PAGE, 4)).toString()).toBe('\0\0\0\0');
    expect((await serve.json<RegionStat>(['stat', 'r'])).pages.dirty).toBe(1);

    expect((await protect('read-write', far, 2 * PAGE)).ranges).toEqual([]);
    await region.write(far + 4, Buffer.from(' again'));
    expect(Buffer.from(await region.read(far, 10)).toString()).toBe('here again');
  });
});
