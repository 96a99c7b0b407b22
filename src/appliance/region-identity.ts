/** What tells the contents behind a region's name from any others. */
import { createHash, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { FarpageError } from '../errors.js';
import type { RegionRecord } from './record.js';

/** Memory that no file keeps is another one in another process. */
const PROCESS = randomBytes(16).toString('hex');

function inodeOf(path: string): [bigint, bigint] {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return [dev, ino];
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new FarpageError(missing ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_ACCESS', path, { cause });
  }
}

/**
 * 128 bits that change when the name stands for other contents, as far as that can be told.
 * ERR_FILE_NOT_FOUND and ERR_FILE_ACCESS when its file is gone.
 */
export function identityOf(record: RegionRecord, { persists }: { persists: boolean }): string {
  const { id, source } = record;
  const parts: unknown[] = [id];
  if ('path' in source) {
    parts.splice(0, 1, ...inodeOf(source.path), source.offset);
  } else if (!persists && source.kind !== 'web') {
    parts.push(PROCESS);
  }
  return createHash('sha256').update(parts.join('/')).digest('hex').slice(0, 32);
}

/** The same without the contents: a region that nothing keeps is the same one after a restart. */
export function lineageOf(record: RegionRecord): string {
  return identityOf(record, { persists: true });
}
