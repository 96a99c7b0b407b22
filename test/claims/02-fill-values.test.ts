import { describe, expect, it } from 'vitest';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { scratch } from '../helpers/scratch.js';

describe('promise 2: initialisation sets all zeros or all ones', () => {
  it.each([
    ['zero', 0x00],
    ['one', 0xff],
  ] as const)('%s', async (fill, byte) => {
    const serve = await ServeProcess.start(scratch());
    await serve.json(['create', 'r', '--size', '1TiB', '--fill', fill]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const at = 700 * 2 ** 30 + 4096;
    // A read over two pages, and a write inside a third one, around which the fill value stays.
    expect(Buffer.from(await region.read(at - 100, 200)).every((found) => found === byte)).toBe(
      true,
    );
    await region.write(at + 8192 + 10, Buffer.from('seven'));
    const page = Buffer.from(await region.read(at + 8192, 4096));
    expect(page.subarray(10, 15).toString()).toBe('seven');
    page.fill(byte, 10, 15);
    expect(page.every((found) => found === byte)).toBe(true);
    expect((await region.stat()).fills).toEqual({ pages: 3, bytes: 3 * 4096, read: 0 });
  });
});
