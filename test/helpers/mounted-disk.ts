/** File systems of a test's own, where it may mount them. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { scratch } from './scratch.js';

/** Why a test is skipped that needs one. */
export const NO_MOUNT = 'no right to mount a file system';

/** Runs a program; whether it did well. */
export function run(...words: [string, ...string[]]): boolean {
  return spawnSync(words[0], words.slice(1)).status === 0;
}

/** Mounts a file system of the test's own; undefined where that is not permitted. */
export function mount(...words: readonly string[]): string | undefined {
  const mounted = join(scratch(), 'disk');
  mkdirSync(mounted);
  if (!run('mount', ...words, mounted)) return undefined;
  onTestFinished(async () => {
    // A mark of a region may be on its way to the device behind the end of its appliance.
    for (let n = 0; n < 100 && !run('umount', mounted); n += 1) await sleep(50);
  });
  return mounted;
}

/** A small ext4 file system. */
export function smallDisk(): string | undefined {
  const image = join(scratch(), 'image');
  writeFileSync(image, '');
  truncateSync(image, 8 * 2 ** 20);
  return run('mkfs.ext4', '-q', image) ? mount('-o', 'loop', image) : undefined;
}
