/** Files to measure with, and what their device takes in. */
import { randomFillSync } from 'node:crypto';
import { readFileSync, statfsSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';

const PIECE_BYTES = 4 * 1024 * 1024;
/** Left free on the file system, whatever is measured. */
export const SPARE_BYTES = 2 * 1024 ** 3;
const SECTOR_BYTES = 512;

/** Makes a file whose blocks are all allocated and durable. */
export async function makeFile(path: string, size: number, signal: AbortSignal): Promise<void> {
  const bytes = randomFillSync(Buffer.allocUnsafe(PIECE_BYTES));
  await using file = await open(path, 'wx');
  for (let offset = 0; offset < size; offset += PIECE_BYTES) {
    signal.throwIfAborted();
    bytes.writeBigUInt64LE(BigInt(offset)); // No two pieces are the same.
    await file.write(bytes, 0, Math.min(PIECE_BYTES, size - offset), offset);
  }
  await file.sync();
}

/** Makes a file of holes. */
export async function makeSparse(path: string, size: number): Promise<void> {
  await using file = await open(path, 'wx');
  await file.truncate(size);
}

/** Bytes that may be used of the file system that `folder` is on. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize - SPARE_BYTES;
}

/**
 * Bytes that the device of `path` has taken in so far (field 7 of its stat file, in sectors of 512
 * bytes); undefined where there is no device to ask, as on tmpfs. Every writer's bytes count.
 */
export function deviceBytes(path: string): number | undefined {
  const { dev } = statSync(path);
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  try {
    const text = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, 'utf8');
    return Number(text.trim().split(/\s+/)[6]) * SECTOR_BYTES;
  } catch {
    return undefined;
  }
}
