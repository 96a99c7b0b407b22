import { openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAPPED_END, MappedInput, WINDOW_BYTES } from '../../../src/cli/mapped-input.js';
import { codeOf } from '../../helpers/codes.js';
import { patternOf, scratch } from '../../helpers/scratch.js';

const GIB = 2 ** 30;
const PIECE = 128 * 1024;

/** A sparse file of 4 GiB and a bit, with a pattern around every whole GiB. */
function hugeFile(): { path: string; size: number } {
  const path = join(scratch(), 'huge');
  const size = 4 * GIB + PIECE + 5;
  writeFileSync(path, '');
  truncateSync(path, size);
  const descriptor = openSync(path, 'r+');
  for (let gib = 0; gib <= 4; gib += 1) {
    const begin = Math.max(gib * GIB - PIECE, 0);
    writeSync(descriptor, patternOf(2 * PIECE, gib), 0, 2 * PIECE, begin);
  }
  return { path, size };
}

/** Resident bytes of this process that belong to files, those of a tmpfs among them. */
function residentFileBytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  const kib = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return (kib('RssFile') + kib('RssShmem')) * 1024;
}

describe('MappedInput', () => {
  it.each([0, 1, 2, 3, 4])('gives the right bytes around %i GiB', async (gib) => {
    const { path, size } = hugeFile();
    await using input = await MappedInput.open(path);
    expect(input.size).toBe(size);
    const begin = Math.max(gib * GIB - PIECE, 0);
    for (const [offset, length] of [
      [0, PIECE],
      [PIECE, PIECE],
      [PIECE - 70_000, 140_000],
      [9, 100],
    ] as const) {
      const bytes = await input.read(begin + offset, length);
      const expected = patternOf(2 * PIECE, gib).subarray(offset, offset + length);
      expect(Buffer.compare(bytes, expected)).toBe(0);
    }
  });

  it('maps at most 1 GiB at once and nothing beyond 2 GiB', async () => {
    const { path } = hugeFile();
    await using input = await MappedInput.open(path);
    expect([WINDOW_BYTES, MAPPED_END]).toEqual([GIB, 2 * GIB]);
    expect(input.isMapped).toBe(true);
    const sizeOf = async (offset: number) => (await input.read(offset, PIECE)).buffer.byteLength;
    expect(await sizeOf(0)).toBe(GIB);
    expect(await sizeOf(2 * GIB - PIECE)).toBe(GIB);
    for (const offset of [GIB - 1, 2 * GIB - 1, 2 * GIB, 4 * GIB]) {
      expect(await sizeOf(offset)).toBe(PIECE);
    }
  });

  it('has little of a long file resident, and gives back what it has again', async () => {
    const { path } = hugeFile();
    await using input = await MappedInput.open(path);
    expect(input.isMapped).toBe(true);
    const piece = 2 ** 20;
    const before = residentFileBytes();
    let [most, touched] = [0, 0];
    // Over the end of a window.
    for (let offset = 0; offset < GIB + 64 * piece; offset += piece) {
      const bytes = await input.read(offset, piece);
      for (let at = 0; at < piece; at += 4096) touched += bytes[at] ?? 0;
      most = Math.max(most, residentFileBytes() - before);
    }
    expect(touched).toBeGreaterThan(0);
    expect(most).toBeGreaterThan(8 * piece);
    expect(most).toBeLessThan(48 * piece);
    // What was given back is there again for who comes back.
    const again = await input.read(GIB - PIECE, PIECE);
    expect(Buffer.compare(again, patternOf(2 * PIECE, 1).subarray(0, PIECE))).toBe(0);
  });

  it('notices a file that was cut while it is read by position', async () => {
    const path = join(scratch(), 'cut');
    writeFileSync(path, patternOf(1000));
    await using input = await MappedInput.open(path);
    truncateSync(path, 500);
    expect(await codeOf(() => input.read(400, 200))).toBe('ERR_FILE_CHANGED');
  });

  it('refuses what is no regular file', async () => {
    const folder = scratch();
    expect(await codeOf(() => MappedInput.open(join(folder, 'none')))).toBe('ERR_FILE_NOT_FOUND');
    expect(await codeOf(() => MappedInput.open(folder))).toBe('ERR_FILE_KIND');
    expect(await codeOf(() => MappedInput.open('/dev/zero'))).toBe('ERR_FILE_KIND');
  });
});
