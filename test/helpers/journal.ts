/** A journal as a crash leaves it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PAGE = 4096;
const SERIAL_AT = 16;
const STREAM_AT = 2 * PAGE;

/**
 * Takes the head away that says "retired", as if the process had died just before: the last sync
 * of the state directory is committed, and its files may have any part of it.
 */
export function unretire(folder: string, name = 'journal'): void {
  const path = join(folder, 'state', name);
  const bytes = readFileSync(path);
  const serial = (slot: number) => bytes.readBigUInt64LE(slot * PAGE + SERIAL_AT);
  const newest = serial(0) > serial(1) ? 0 : 1;
  bytes.fill(0xa5, newest * PAGE, newest * PAGE + 48);
  writeFileSync(path, bytes);
}

/** Flips one bit of its first page of data. */
export function damage(folder: string, name = 'journal'): number {
  const path = join(folder, 'state', name);
  const bytes = readFileSync(path);
  const at = STREAM_AT + 2 * PAGE + 77;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at);
  writeFileSync(path, bytes);
  return STREAM_AT + 2 * PAGE;
}
