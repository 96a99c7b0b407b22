/** Which ranges of which files this process serves for writing; other processes meet OFD locks. */
import { statSync } from 'node:fs';
import { FarpageError } from '../errors.js';
import type { RegionRecord } from './record.js';

interface Claim {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Ranges claimed for writing by (device, inode), none of which may overlap. */
export class FileClaims {
  readonly #claims = new Map<string, Set<Claim>>();

  /**
   * Claims the range of a writable region; returns what gives it back. ERR_REGION_BUSY when it
   * overlaps another one's, ERR_FILE_NOT_FOUND. Regions of no local file and read-only ones
   * claim nothing.
   */
  claim(record: RegionRecord): () => void {
    const { source, name, size } = record;
    if (!('path' in source) || record.access === 'read-only') return () => {};
    const found = statSync(source.path, { bigint: true, throwIfNoEntry: false });
    if (found === undefined) throw new FarpageError('ERR_FILE_NOT_FOUND', source.path);
    const key = `${found.dev}:${found.ino}`;
    const claims = this.#claims.get(key) ?? new Set();
    const claim = { name, from: source.offset, to: source.offset + size };
    for (const other of claims) {
      if (claim.from >= other.to || other.from >= claim.to) continue;
      throw new FarpageError('ERR_REGION_BUSY', `${source.path} overlaps region ${other.name}`);
    }
    this.#claims.set(key, claims.add(claim));
    return () => {
      claims.delete(claim);
      if (claims.size === 0) this.#claims.delete(key);
    };
  }
}
