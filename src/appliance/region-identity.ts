/** What tells the contents behind a region's name from any others. */
import { createHash, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import type { RegionRecord } from './record.js';

/** Memory that no file keeps is another one in another process. */
const PROCESS = randomBytes(16).toString('hex');

/** 128 bits that change when the name stands for other contents, as far as that can be told. */
export function identityOf(record: RegionRecord, { persists }: { persists: boolean }): string {
  const { id, source } = record;
  const parts: unknown[] = [id];
  if ('path' in source) {
    const { dev, ino } = statSync(source.path, { bigint: true });
    parts.splice(0, 1, dev, ino, source.offset);
  } else if (!persists && source.kind !== 'web') {
    parts.push(PROCESS);
  }
  return createHash('sha256').update(parts.join('/')).digest('hex').slice(0, 32);
}
