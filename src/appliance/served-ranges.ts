/** What is protected and pinned of the regions of `serve`'s command line, kept over restarts. */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { contextOf } from '../control/codes.js';
import { pinnedRange, protectedRange, regionName } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { PinnedRange, ProtectedRange } from '../native/binding.js';
import { CheckedJson } from './checked-json.js';
import { fileFailure, replaceFile } from './durable-file.js';
import type { RegionRecord } from './record.js';

const kept = v.object({
  name: regionName,
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  protection: v.array(protectedRange),
  pins: v.array(pinnedRange),
});
type Kept = v.InferOutput<typeof kept>;
const file = new CheckedJson({
  format: 'farpage-ranges',
  version: 1,
  key: 'kept',
  schema: kept,
});

/** Those of a file that may be shorter by now; one of all that there was is of what was added. */
function protectionOf({ size: before, protection }: Kept, size: number): ProtectedRange[] {
  return protection.flatMap(({ offset, length, access }) => {
    const end = offset + length >= before ? size : Math.min(offset + length, size);
    return end > offset ? [{ offset, length: end - offset, access }] : [];
  });
}

function pinsOf({ pins }: Kept, size: number): PinnedRange[] {
  return pins.flatMap(({ offset, length }) => {
    const end = Math.min(offset + length, size);
    return end > offset ? [{ offset, length: end - offset }] : [];
  });
}

/**
 * Regions that the command line names are in no catalog, and yet the same ones at every start: by
 * their name and their file or URL, however it is served. What is protected and pinned of each is
 * in a small file, replaced as a whole, until the region is removed or the catalog has it.
 */
export class ServedRanges {
  readonly #folder: string;
  /** Names of such regions. */
  readonly #served = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Such a region's record with what was kept. A file that is none of these is refused, because a
   * protection must not go unseen: ERR_STATE_DAMAGED, ERR_STATE_VERSION; ERR_IO.
   */
  restore(record: RegionRecord): RegionRecord {
    const path = this.#pathOf(record);
    const found = read(path, record.name);
    this.#served.add(record.name);
    if (found === undefined) return record;
    const { size } = record;
    return { ...record, protection: protectionOf(found, size), pins: pinsOf(found, size) };
  }

  /** Keeps what the record of such a region says; others it leaves out. ERR_IO, ERR_NO_SPACE. */
  update(record: RegionRecord): void {
    if (!this.#served.has(record.name)) return;
    const { name, size, protection = [], pins = [] } = record;
    const path = this.#pathOf(record);
    if (protection.length === 0 && pins.length === 0) {
      rmSync(path, { force: true });
      return;
    }
    // Parsed, so that keys stand in the order that the checksum will be taken in again.
    replaceFile(path, file.encode(v.parse(kept, { name, size, protection, pins })));
  }

  /** The region is gone, or somebody else's to keep. */
  forget(record: RegionRecord): void {
    if (!this.#served.delete(record.name)) return;
    rmSync(this.#pathOf(record), { force: true });
  }

  #pathOf({ name, source }: RegionRecord): string {
    // Not by its kind, which `--memory-dir` changes, nor by the version of a file behind HTTP(S).
    const place = 'path' in source ? source.path : 'url' in source ? source.url : source.kind;
    const what = JSON.stringify([name, place, 'offset' in source ? source.offset : 0]);
    const id = createHash('sha256').update(what).digest('hex').slice(0, 32);
    return join(this.#folder, `${id}.ranges`);
  }
}

function read(path: string, name: string): Kept | undefined {
  try {
    return file.decode(readFileSync(path, 'utf8'));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (!(cause instanceof FarpageError)) throw fileFailure(cause, path);
    const advice = `it says what of ${name} is protected and pinned; delete it to serve all of it`;
    throw new FarpageError(cause.code, `${path}: ${contextOf(cause)}; ${advice}`, { cause });
  }
}
