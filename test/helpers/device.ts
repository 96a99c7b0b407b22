/** The write counter of the device below a file, as the device's driver keeps it. */
import { existsSync, readFileSync, statSync } from 'node:fs';

const SECTOR_BYTES = 512;

/** Where the counter of the file's device is; undefined where there is no block device. */
export function counterOf(path: string): string | undefined {
  const { dev } = statSync(path, { bigint: true });
  // gnu_dev_major and gnu_dev_minor of makedev(3).
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  const counter = `/sys/dev/block/${major}:${minor}/stat`;
  return existsSync(counter) ? counter : undefined;
}

/** Bytes written to the device since it was started (Documentation/block/stat). */
export function deviceBytes(counter: string): number {
  const fields = readFileSync(counter, 'utf8').trim().split(/\s+/);
  return Number(fields[6]) * SECTOR_BYTES;
}
