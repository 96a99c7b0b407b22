/** Temporary directories and files with known bytes, gone when the test is over. */
import { createCipheriv, createHash } from 'node:crypto';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A directory of the running test's own. */
export function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'fp-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Bytes that differ everywhere and are the same in every run: a key stream (AES-CTR). */
export function patternOf(length: number, seed = 0): Buffer {
  const key = createHash('sha256').update(`${seed}`).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** A file with `patternOf`'s bytes. */
export function patternFile(folder: string, options: { length: number; name?: string }): string {
  const path = join(folder, options.name ?? 'file.bin');
  writeFileSync(path, patternOf(options.length));
  return path;
}

/** The same on a device: where the system keeps temporary files in memory, below this project. */
export function scratchOnDisk(): string {
  const inMemory = statfsSync(tmpdir()).type === 0x01021994;
  const path = mkdtempSync(join(inMemory ? process.cwd() : tmpdir(), '.fp-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
