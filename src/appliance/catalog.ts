/** What must survive a restart: the regions that `create` made. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import {
  access,
  fill,
  pinnedRange,
  protectedRange,
  regionName,
  secret,
} from '../control/schema.js';
import { ERROR_TEXT, FarpageError } from '../errors.js';
import { formatCount } from '../units.js';
import { CheckedJson } from './checked-json.js';
import { fileFailure, replaceFile } from './durable-file.js';
import type { RegionRecord } from './record.js';
import { giveUpSpare, keepSpare } from './spare-file.js';

const VERSION = 2;

const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const record = v.object({
  name: regionName,
  id: secret,
  door: v.picklist(['unix', 'tcp']),
  access,
  size: bytes,
  resident: bytes,
  reserve: v.optional(v.boolean()),
  atomic: v.optional(v.boolean()),
  synced: v.optional(v.boolean()),
  protection: v.optional(v.array(protectedRange)),
  pins: v.optional(v.array(pinnedRange)),
  workingSetMs: v.optional(bytes),
  source: v.variant('kind', [
    v.object({ kind: v.literal('anonymous'), fill, persist: v.boolean() }),
    v.object({
      kind: v.literal('remote'),
      url: v.string(),
      identity: secret,
      tokenFile: v.optional(v.string()),
      detached: v.optional(v.boolean()),
    }),
    v.object({
      kind: v.literal('web'),
      url: v.string(),
      offset: bytes,
      keep: v.boolean(),
      version: v.object({
        size: bytes,
        etag: v.optional(v.string()),
        lastModified: v.optional(v.string()),
      }),
      tokenFile: v.optional(v.string()),
      detached: v.optional(v.boolean()),
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
type Kept = v.InferOutput<typeof record>;
const file = new CheckedJson({
  format: 'farpage-catalog',
  version: VERSION,
  key: 'regions',
  schema: v.array(record),
  advise: (version) =>
    version > VERSION
      ? 'use the newer Farpage that wrote it, or another --state'
      : 'it is of a build before the first release; move it away to begin an empty one',
});

/** What can be done about a damaged one; the version before it is only offered, never taken. */
function adviceOn(path: string): string {
  const previous = `${path}.previous`;
  try {
    const { length } = file.decode(readFileSync(previous, 'utf8'));
    const held = formatCount(length, 'region');
    const when = statSync(previous).mtime.toISOString();
    return `${previous} is whole, of ${when} with ${held}: copy it over to go back to it`;
  } catch {
    return 'restore it from a backup, or move it away to begin an empty one';
  }
}

/**
 * The catalog of one state directory. Every change replaces the file as a whole, so that a crash
 * leaves the old or the new one; the one before stays beside it as `catalog.json.previous`. And
 * there is a spare file of its length: a full device can be emptied all the same.
 */
export class Catalog {
  readonly #path: string;
  #regions: Kept[];
  #bytes: number;

  private constructor(path: string, regions: Kept[], bytes: number) {
    this.#path = path;
    this.#regions = regions;
    this.#bytes = bytes;
    this.restock();
  }

  /**
   * Reads the catalog of a directory; none there is an empty one. ERR_STATE_VERSION,
   * ERR_STATE_DAMAGED with what is wrong and what can be done, ERR_IO: it is left as it is then.
   */
  static open(folder: string): Catalog {
    const path = join(folder, 'catalog.json');
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Catalog(path, [], 0);
      throw fileFailure(cause, path);
    }
    try {
      return new Catalog(path, file.decode(text), Buffer.byteLength(text));
    } catch (cause) {
      if (!(cause instanceof FarpageError)) throw cause;
      const why = cause.message.slice(ERROR_TEXT[cause.code].length + 2);
      if (cause.code === 'ERR_STATE_VERSION') {
        throw new FarpageError(cause.code, `${path}: ${why}`, { cause });
      }
      throw new FarpageError(cause.code, `${path}: ${why}; ${adviceOn(path)}`, { cause });
    }
  }

  get regions(): readonly RegionRecord[] {
    return this.#regions;
  }

  /**
   * Identities of regions that the catalog before this one had: a removal that a crash has
   * interrupted took them out, if anything did. None where it cannot be read.
   */
  removed(): ReadonlySet<string> {
    let before: Kept[] = [];
    try {
      before = file.decode(readFileSync(`${this.#path}.previous`, 'utf8'));
    } catch {} // Then nobody knows of any.
    const now = new Set(this.#regions.map(({ id }) => id));
    return new Set(before.map(({ id }) => id).filter((id) => !now.has(id)));
  }

  get #sparePath(): string {
    return `${this.#path}.spare`;
  }

  /** Adds or replaces a region by its name; durable when it returns. ERR_IO, ERR_NO_SPACE. */
  put(region: RegionRecord): void {
    // Parsed, so that keys stand in the order that the checksum will be taken in again.
    const parsed = v.parse(record, region);
    this.#replace([...this.#regions.filter(({ name }) => name !== region.name), parsed]);
  }

  /** Replaces a region that it has; others it leaves out. ERR_IO, ERR_NO_SPACE. */
  update(region: RegionRecord): void {
    this.updateAll([region]);
  }

  /** The same of many at once. ERR_IO, ERR_NO_SPACE. */
  updateAll(regions: readonly RegionRecord[]): void {
    const parsed = new Map(regions.map((region) => [region.name, v.parse(record, region)]));
    if (!this.#regions.some(({ name }) => parsed.has(name))) return;
    this.#replace(this.#regions.map((region) => parsed.get(region.name) ?? region));
  }

  /**
   * Takes a region out; durable when it returns. What gives space back does not fail for want of
   * it: the spare file makes room. ERR_IO, ERR_NO_SPACE.
   */
  remove(name: string): void {
    const rest = this.#regions.filter((region) => region.name !== name);
    if (rest.length === this.#regions.length) return;
    try {
      this.#replace(rest);
    } catch (error) {
      if (!(error instanceof FarpageError) || error.code !== 'ERR_NO_SPACE') throw error;
      giveUpSpare(this.#sparePath);
      this.#replace(rest);
    }
  }

  /** Makes the spare file anew, if it was given up: what a region had is free by now. */
  restock(): void {
    keepSpare(this.#sparePath, this.#bytes);
  }

  #replace(regions: Kept[]): void {
    const text = file.encode(regions);
    replaceFile(this.#path, text, `${this.#path}.previous`);
    this.#regions = regions;
    this.#bytes = Buffer.byteLength(text);
    this.restock();
  }
}
