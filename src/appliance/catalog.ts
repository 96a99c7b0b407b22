/** What must survive a restart: the regions that `create` made. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { parseJson, validate } from '../control/message.js';
import { access, fill, regionName, secret } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { RegionRecord } from './record.js';

const FORMAT = 'farpage-catalog';
const VERSION = 2;

const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const record = v.object({
  name: regionName,
  id: secret,
  door: v.picklist(['unix', 'tcp']),
  access,
  size: bytes,
  resident: bytes,
  source: v.variant('kind', [
    v.object({ kind: v.literal('anonymous'), fill, persist: v.boolean() }),
    v.object({
      kind: v.literal('remote'),
      url: v.string(),
      identity: secret,
      tokenFile: v.optional(v.string()),
    }),
    v.object({ kind: v.literal('staged'), path: v.string(), offset: bytes }),
    v.object({
      kind: v.literal('mapped'),
      path: v.string(),
      offset: bytes,
      writeBehind: v.boolean(),
    }),
  ]),
});
const document = v.object({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  checksum: v.string(),
  regions: v.array(record),
});

const checksumOf = (regions: readonly RegionRecord[]) =>
  createHash('sha256').update(JSON.stringify(regions)).digest('hex');

/**
 * The catalog of one state directory. Every change replaces the file as a whole: written beside
 * it, fsynced, renamed over it, directory fsynced, so that a crash leaves the old or the new one.
 */
export class Catalog {
  readonly #folder: string;
  readonly #path: string;
  #regions: readonly RegionRecord[];

  private constructor(folder: string, regions: readonly RegionRecord[]) {
    this.#folder = folder;
    this.#path = join(folder, 'catalog.json');
    this.#regions = regions;
  }

  /**
   * Reads the catalog of a directory; none there is an empty one. ERR_IO when it cannot be read,
   * is damaged or of another version: it is never overwritten then.
   */
  static open(folder: string): Catalog {
    const path = join(folder, 'catalog.json');
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Catalog(folder, []);
      throw new FarpageError('ERR_IO', path, { cause });
    }
    try {
      const found = validate(document, parseJson(text, 'ERR_IO'), 'ERR_IO');
      if (checksumOf(found.regions) !== found.checksum) {
        throw new FarpageError('ERR_IO', 'its checksum does not match');
      }
      return new Catalog(folder, found.regions);
    } catch (cause) {
      const why = 'is damaged; restore it, or move it away to begin an empty one';
      throw new FarpageError('ERR_IO', `${path} ${why}`, { cause });
    }
  }

  get regions(): readonly RegionRecord[] {
    return this.#regions;
  }

  /** Adds or replaces a region by its name; durable when it returns. ERR_IO, ERR_NO_SPACE. */
  put(region: RegionRecord): void {
    this.#replace([...this.#regions.filter(({ name }) => name !== region.name), region]);
  }

  /** Takes a region out; durable when it returns. ERR_IO, ERR_NO_SPACE. */
  remove(name: string): void {
    const rest = this.#regions.filter((region) => region.name !== name);
    if (rest.length < this.#regions.length) this.#replace(rest);
  }

  #replace(changed: readonly RegionRecord[]): void {
    // Parsed once, so that keys stand in the order that the checksum will be taken in again.
    const regions = changed.map((region) => v.parse(record, region));
    const text = JSON.stringify({
      format: FORMAT,
      version: VERSION,
      checksum: checksumOf(regions),
      regions,
    } satisfies v.InferOutput<typeof document>);
    const next = `${this.#path}.next`;
    try {
      const file = openSync(next, 'w', 0o600);
      try {
        writeFileSync(file, text);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(next, this.#path);
      const folder = openSync(this.#folder, 'r');
      try {
        fsyncSync(folder);
      } finally {
        closeSync(folder);
      }
    } catch (cause) {
      try {
        unlinkSync(next);
      } catch {} // It was never made, or has been renamed.
      const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
      throw new FarpageError(full ? 'ERR_NO_SPACE' : 'ERR_IO', this.#path, { cause });
    }
    this.#regions = regions;
  }
}
