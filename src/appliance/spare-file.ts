/** Room on a device that is kept for when it is full, by a file that can be given up. */
import { rmSync, statSync, writeFileSync } from 'node:fs';

/** Its length is a multiple of this, so that it is seldom written. */
const STEP_BYTES = 16 * 1024;

/** Makes it, of `bytes` at least, unless it is there. Where there is no room there is none. */
export function keepSpare(path: string, bytes: number): void {
  const wanted = Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
  try {
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) >= wanted) return;
    // Not by truncate(2): that takes no room. It need not be durable: a start makes it again.
    writeFileSync(path, Buffer.alloc(wanted), { mode: 0o600 });
  } catch {
    giveUpSpare(path);
  }
}

/** Gives its room back. */
export function giveUpSpare(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {} // Then there is as little room as before, which who wanted it will say.
}
