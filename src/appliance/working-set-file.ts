/** The file of a working set: runs of pages, whose they are, and a checksum. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { FarpageError } from '../errors.js';
import { fileFailure, replaceFile } from './durable-file.js';

/** Pages that were used, as pairs of first page and count, those used again first. */
export interface SavedSet {
  readonly hotRuns: number;
  readonly runs: Float64Array;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
}

/** Whose set it is: another region's, or one of another size, is of no use. */
export interface Owner {
  /** 128 bits in hexadecimal. */
  readonly id: string;
  /** In bytes. */
  readonly size: number;
}

const SUFFIX = '.set';
const MAGIC = 'FARPAGE-WSET';
const VERSION = 1;
const HEADER_BYTES = 64;
const SUM_BYTES = 32;
/** As many runs as native code tells. */
export const RUNS_MAX = 65_536;
/** Two numbers a run, of at most seven bytes each. */
const FILE_BYTES_MAX = HEADER_BYTES + RUNS_MAX * 14 + SUM_BYTES;

const sumOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** Appends a number in groups of seven bits, the lowest first; all but the last have bit 7. */
function putNumber(bytes: number[], value: number): void {
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
}

/**
 * Header: magic (12), version, hot runs, runs (u32 each), 8 of nothing, id (16), size and time
 * (f64). Then for each run the pages since the end of the one before and its count; the first hot
 * and the first other run count from page 0. Then SHA-256 of all that. All little-endian.
 */
export function encode({ hotRuns, runs, savedAt }: SavedSet, { id, size }: Owner): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(VERSION, 12);
  header.writeUInt32LE(hotRuns, 16);
  header.writeUInt32LE(runs.length / 2, 20);
  Buffer.from(id, 'hex').copy(header, 32);
  header.writeDoubleLE(size, 48);
  header.writeDoubleLE(savedAt, 56);
  const body: number[] = [];
  let end = 0;
  for (let run = 0; run < runs.length / 2; run++) {
    if (run === hotRuns) end = 0;
    const [first = 0, count = 0] = runs.subarray(2 * run, 2 * run + 2);
    putNumber(body, first - end);
    putNumber(body, count);
    end = first + count;
  }
  const bytes = Buffer.concat([header, Buffer.from(body)]);
  return Buffer.concat([bytes, sumOf(bytes)]);
}

const damaged = (why: string) => new FarpageError('ERR_STATE_DAMAGED', why);

/** What `encode` made; ERR_STATE_VERSION, ERR_STATE_DAMAGED: why it is none of this region's. */
export function decode(file: Uint8Array, { id, size }: Owner): SavedSet {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (bytes.length < HEADER_BYTES + SUM_BYTES) throw damaged('it is cut off');
  if (bytes.toString('latin1', 0, 12) !== MAGIC) throw damaged('it is no working set');
  const version = bytes.readUInt32LE(12);
  if (version !== VERSION) {
    throw new FarpageError('ERR_STATE_VERSION', `it is of version ${version}, not ${VERSION}`);
  }
  const end = bytes.length - SUM_BYTES;
  if (!sumOf(bytes.subarray(0, end)).equals(bytes.subarray(end))) {
    throw damaged('it is torn, or was changed');
  }
  if (bytes.toString('hex', 32, 48) !== id) throw damaged('it is of another region');
  if (bytes.readDoubleLE(48) !== size) {
    throw damaged(`it is of a region of ${bytes.readDoubleLE(48)} bytes, not ${size}`);
  }
  const [hotRuns, count] = [bytes.readUInt32LE(16), bytes.readUInt32LE(20)];
  const runs = readRuns(bytes.subarray(HEADER_BYTES, end), { hotRuns, count });
  return { hotRuns, runs, savedAt: bytes.readDoubleLE(56) };
}

function readRuns(body: Uint8Array, of: { hotRuns: number; count: number }): Float64Array {
  if (of.count > RUNS_MAX || of.hotRuns > of.count) throw damaged('it has too many runs');
  const runs = new Float64Array(2 * of.count);
  let at = 0;
  const next = () => {
    let value = 0;
    for (let scale = 1; at < body.length; scale *= 128) {
      const byte = body[at++] ?? 0;
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
    throw damaged('it ends within a run');
  };
  let end = 0;
  for (let run = 0; run < of.count; run++) {
    if (run === of.hotRuns) end = 0;
    const first = end + next();
    const count = next();
    runs.set([first, count], 2 * run);
    end = first + count;
  }
  return runs;
}

/** The set that a file has; undefined where there is none. As `decode` fails, and ERR_IO. */
export function readSet(path: string, owner: Owner): SavedSet | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileFailure(cause, path);
  }
  try {
    const { size } = fstatSync(file);
    if (size > FILE_BYTES_MAX) throw damaged(`it has ${size} bytes`);
    const bytes = Buffer.alloc(size);
    const length = readSync(file, bytes, 0, size, 0);
    return decode(bytes.subarray(0, length), owner);
  } catch (cause) {
    throw fileFailure(cause, path);
  } finally {
    closeSync(file);
  }
}

/** Puts it in place of the one before, as a whole and durably. ERR_IO, ERR_NO_SPACE. */
export function writeSet(path: string, set: SavedSet, owner: Owner): void {
  replaceFile(path, encode(set, owner));
}

/** The regions, by their identifiers, that have such a file among those of a folder. */
export function savedSets(names: readonly string[]): Set<string> {
  const sets = names.filter((name) => name.endsWith(SUFFIX));
  return new Set(sets.map((name) => name.slice(0, -SUFFIX.length)));
}

export function removeSet(path: string): void {
  rmSync(path, { force: true });
  rmSync(`${path}.next`, { force: true });
}
