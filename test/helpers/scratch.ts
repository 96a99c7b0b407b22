/** Temporary directories and files with known bytes, gone when the test is over. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A directory of the running test's own. */
export function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'fp-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Bytes that differ everywhere and are the same in every run. */
export function patternOf(length: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, block = 0; at < length; at += 32, block += 1) {
    createHash('sha256').update(`${seed}/${block}`).digest().copy(bytes, at);
  }
  return bytes;
}

/** A file with `patternOf`'s bytes. */
export function patternFile(folder: string, options: { length: number; name?: string }): string {
  const path = join(folder, options.name ?? 'file.bin');
  writeFileSync(path, patternOf(options.length));
  return path;
}
