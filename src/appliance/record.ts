/** What a region is made of, as plain data: what the catalog keeps and a restart needs. */
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename } from 'node:path';
import type { Door } from '../control/authorize.js';
import { isGivenName } from '../control/region-name.js';
import type { RegionSpec } from '../control/schema.js';
import { fileNameOf, isWebUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';
import type { Access, PinnedRange, ProtectedRange } from '../native/binding.js';
import { pageCount } from '../units.js';
import { checkAligned } from './aligned.js';
import type { WebVersion } from './http-file.js';
import { takesNoWrites, webRecord, webUrlOf } from './web-record.js';

export interface RegionRecord {
  readonly name: string;
  /** 128 random bits in hexadecimal: what its own files are named by. */
  readonly id: string;
  /** The door it was asked for at. */
  readonly door: Door;
  readonly access: Access;
  /** Bytes of the region. */
  readonly size: number;
  /** Bound on its present pages in bytes; 0 means only the appliance's. */
  readonly resident: number;
  /** Its syncs happen wholly or not at all. */
  readonly atomic?: boolean | undefined;
  /** Some sync of it was durable: its record of syncs is there, or was lost. */
  readonly synced?: boolean | undefined;
  /** Allocated by the first touch, though it has a file; those without a file always are. */
  readonly reserve?: boolean | undefined;
  /** Ranges that permit less than the region, in order. */
  readonly protection?: readonly ProtectedRange[] | undefined;
  /** For how long its first start records its working set, in milliseconds. */
  readonly workingSetMs?: number | undefined;
  /** Ranges whose pages stay in memory, in order. */
  readonly pins?: readonly PinnedRange[] | undefined;
  readonly source:
    | {
        readonly kind: 'anonymous';
        readonly fill: 'zero' | 'one';
        /** Kept in a file of the state directory. */
        readonly persist: boolean;
      }
    | {
        /** A copy of a region elsewhere, under a file of the state directory. */
        readonly kind: 'remote';
        readonly url: string;
        /** What the source was when it was first met. */
        readonly identity: string;
        readonly tokenFile?: string | undefined;
        /** Every page is in that file, and the source is asked no more. */
        readonly detached?: boolean | undefined;
      }
    | {
        /** A file behind HTTP(S), or with `keep` a copy, under a file of the state directory. */
        readonly kind: 'web';
        readonly url: string;
        /** Of the region's first byte in the file. */
        readonly offset: number;
        readonly keep: boolean;
        /** The file as it was first met; another one is not read. */
        readonly version: WebVersion;
        readonly tokenFile?: string | undefined;
        /** Every page of the copy is here: its source is needed no longer. */
        readonly detached?: boolean | undefined;
      }
    | {
        /** Functions of this process: no catalog has it. */
        readonly kind: 'callback';
        readonly takesWrites: boolean;
      }
    | {
        readonly kind: 'staged';
        readonly path: string;
        readonly offset: number;
      }
    | {
        readonly kind: 'mapped';
        /** Absolute, with no symbolic link in it. */
        readonly path: string;
        readonly offset: number;
        readonly writeBehind: boolean;
      };
}

const ID_BYTES = 16;
/** The part of a region's own bound that its pinned pages may have. */
const PINNED_PART = 2;

/** Pages of a region that may be pinned, as far as its own bound goes. */
export function pinnedPagesMax({ resident }: RegionRecord): number {
  return resident === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(pageCount(resident) / PINNED_PART);
}

function fileError(error: unknown, path: string): FarpageError {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST') return new FarpageError('ERR_FILE_KIND', path, { cause: error });
  const known = code === 'ENOENT' || code === 'ENOTDIR' ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_ACCESS';
  return new FarpageError(code === 'ENOSPC' ? 'ERR_NO_SPACE' : known, path, { cause: error });
}

/** Space is not what is missing: no file there may be so large. */
export function tooLarge(path: string, size: number, cause: unknown): FarpageError {
  const what = `its file system, or a limit of the process, permits no file of ${size} bytes`;
  return new FarpageError('ERR_ARGUMENT', `${path}: ${what}`, { cause });
}

/** Makes a sparse file of `size` bytes; one that exists stays and must have that size. */
function makeFile(path: string, size: number): void {
  try {
    const file = openSync(path, 'wx', 0o666);
    try {
      ftruncateSync(file, size);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EFBIG') throw tooLarge(path, size, error);
    if (code !== 'EEXIST') throw fileError(error, path);
    const found = statSync(path, { throwIfNoEntry: false })?.size;
    if (found === size) return;
    if (found === undefined) throw fileError(error, path);
    throw new FarpageError('ERR_ARGUMENT', `${path} exists and has ${found} bytes, not ${size}`);
  }
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

type Contents = Omit<RegionRecord, 'name' | 'id' | 'door'>;

function fileRecord(spec: RegionSpec, path: string, staged: boolean): Contents {
  if (spec.kind === 'anonymous') throw new FarpageError('ERR_ARGUMENT', 'anonymous with a file');
  if (spec.persist) throw new FarpageError('ERR_ARGUMENT', 'a file persists by itself');
  if (spec.fill !== undefined) throw new FarpageError('ERR_ARGUMENT', 'a file needs no fill');
  if (spec.size !== undefined && !spec.make) {
    throw new FarpageError('ERR_ARGUMENT', 'a size belongs to a file only with make');
  }
  checkAligned('offset', spec.offset);
  if (spec.make) {
    if (!spec.size) throw new FarpageError('ERR_ARGUMENT', 'make needs a size above 0');
    makeFile(path, spec.size);
  }
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new FarpageError('ERR_FILE_NOT_FOUND', path);
  if (!found.isFile()) throw new FarpageError('ERR_FILE_KIND', path);
  if (found.size === 0) throw new FarpageError('ERR_FILE_EMPTY', path);
  const rest = found.size - spec.offset;
  const size = spec.length ?? rest;
  if (rest <= 0 || size > rest) {
    const range = `${spec.offset} + ${spec.length ?? 0}`;
    throw new FarpageError('ERR_RANGE', `${range} in ${path}, which has ${found.size} bytes`);
  }
  if (size === 0) throw new FarpageError('ERR_ARGUMENT', 'a length of 0 maps nothing');
  if (size !== rest) checkAligned('length', size);
  const access = spec.access ?? (mayWrite(path) ? 'read-write' : 'read-only');
  const { offset, writeBehind = false } = spec;
  const common = {
    access,
    size,
    resident: spec.resident ?? 0,
    ...(spec.reserve && { reserve: true }),
  };
  const kind =
    spec.kind ??
    (spec.atomic || (staged && access === 'read-write' && !writeBehind) ? 'staged' : 'mapped');
  if (kind === 'staged') {
    if (writeBehind) throw new FarpageError('ERR_ARGUMENT', 'writeBehind needs kind mapped');
    return { ...common, source: { kind: 'staged', path, offset } };
  }
  return { ...common, source: { kind: 'mapped', path, offset, writeBehind } };
}

function anonymousRecord(spec: RegionSpec): Contents {
  const { size } = spec;
  if (spec.kind !== undefined && spec.kind !== 'anonymous') {
    throw new FarpageError('ERR_ARGUMENT', `${spec.kind} memory needs a file`);
  }
  if (!size) throw new FarpageError('ERR_ARGUMENT', 'a region needs a file, or a size above 0');
  if (spec.offset !== 0 || spec.length !== undefined || spec.make || spec.writeBehind) {
    throw new FarpageError('ERR_ARGUMENT', 'offset, length, make and writeBehind need a file');
  }
  checkAligned('size', size);
  const { fill = 'zero', persist } = spec;
  const source = { kind: 'anonymous', fill, persist } as const;
  return { access: spec.access ?? 'read-write', size, resident: spec.resident ?? 0, source };
}

/** What a region elsewhere was found to be. */
export interface Origin {
  readonly size: number;
  readonly identity: string;
}

/** What a source elsewhere was found to be: a region, or a file behind HTTP(S). */
export type Found = Origin | WebVersion;

function copyRecord(spec: RegionSpec, url: string, origin: Found | undefined): Contents {
  if (origin === undefined || !('identity' in origin))
    throw new FarpageError('ERR_ARGUMENT', 'a copy is made by create');
  const none = [spec.file, spec.size, spec.length, spec.fill].every((given) => given === undefined);
  if (!none || spec.offset !== 0 || spec.make || spec.writeBehind) {
    throw new FarpageError('ERR_ARGUMENT', 'a copy has the size and contents of its source');
  }
  if (spec.reserve) throw new FarpageError('ERR_ARGUMENT', 'a copy is allocated at once');
  if (spec.kind !== undefined && spec.kind !== 'staged') {
    throw new FarpageError('ERR_ARGUMENT', `a copy is staged, not ${spec.kind}`);
  }
  const { size, identity } = origin;
  const { access = 'read-write', resident = 0, fromTokenFile: tokenFile } = spec;
  const source = { kind: 'remote', url, identity, ...(tokenFile && { tokenFile }) } as const;
  return { access, size, resident, source };
}

/**
 * Turns a request into a record; `path` is the resolved path of its file. ERR_ARGUMENT,
 * ERR_ALIGNMENT (with the values that would do), ERR_RANGE, ERR_FILE_*.
 */
export function toRecord(
  spec: RegionSpec,
  options: {
    door: Door;
    path: string | undefined;
    name: string;
    origin?: Found | undefined;
    /** Writable files are staged unless the request says otherwise: memory outlives the process. */
    staged?: boolean;
  },
): RegionRecord {
  if (spec.resident !== undefined) checkAligned('resident', spec.resident);
  const { path, name, door } = options;
  const id = randomBytes(ID_BYTES).toString('hex');
  const { origin } = options;
  if (webUrlOf(spec) !== undefined) {
    if (origin === undefined || 'identity' in origin) {
      throw new FarpageError('ERR_ARGUMENT', 'a region of a URL is made by create');
    }
    return asAsked(spec, { name, id, door, ...webRecord(spec, origin) }, options);
  }
  if (spec.from !== undefined) {
    return asAsked(spec, { name, id, door, ...copyRecord(spec, spec.from, origin) }, options);
  }
  if (spec.fromTokenFile !== undefined) {
    throw new FarpageError('ERR_ARGUMENT', 'a token for a source needs from');
  }
  const contents =
    path === undefined ? anonymousRecord(spec) : fileRecord(spec, path, options.staged ?? false);
  return asAsked(spec, { name, id, door, ...contents }, options);
}

/** The record with what is asked of any kind of region. */
function asAsked(
  spec: RegionSpec,
  record: RegionRecord,
  options: { staged?: boolean },
): RegionRecord {
  const { workingSetMs } = spec;
  const asked = atomicOr(spec, record, options);
  if (workingSetMs === undefined) return asked;
  checkComesBack(record);
  return { ...asked, workingSetMs };
}

/** ERR_ARGUMENT where a restart leaves nothing that would be worth bringing near. */
export function checkComesBack(record: RegionRecord): void {
  const { name, source } = record;
  const returns = source.kind === 'web' || (persists(record) && source.kind !== 'callback');
  if (returns && !name.startsWith('@')) return;
  throw new FarpageError('ERR_ARGUMENT', `nothing of ${name} comes back after a restart`);
}

/** The record, as one of atomic syncs if that is asked for: there must be a file to write. */
function atomicOr(
  spec: RegionSpec,
  record: RegionRecord,
  { staged = false }: { staged?: boolean },
): RegionRecord {
  if (!spec.atomic) return record;
  const { source, access } = record;
  if (access === 'read-only') throw new FarpageError('ERR_ARGUMENT', 'atomic needs write access');
  if (source.kind === 'anonymous' && !source.persist) {
    throw new FarpageError('ERR_ARGUMENT', 'atomic needs a file, or persist');
  }
  if (source.kind === 'mapped') {
    throw new FarpageError('ERR_ARGUMENT', 'an atomic region is staged, not mapped');
  }
  if (isCopy(source) && staged) {
    const why = 'a memory directory tells of one writer of a file, and an atomic copy has two';
    const instead = 'serve it without --memory-dir, or a file that has all of it with --atomic';
    throw new FarpageError('ERR_ARGUMENT', `${why}, its pull and its syncs; ${instead}`);
  }
  const none = noSinkOf(record);
  if (none !== undefined) throw new FarpageError('ERR_ARGUMENT', `atomic: ${none}`);
  return { ...record, atomic: true };
}

/** The name of a region that was given none: its file's base name, cut to what names may hold. */
export function nameOfFile(path: string): string {
  const name = isWebUrl(path) ? fileNameOf(path) : basename(path);
  if (isGivenName(name)) return name;
  throw new FarpageError('ERR_NAME', `"${name}"; give one as NAME=${path}`);
}

/** Whether it is a copy of what is elsewhere. */
export function isCopy(
  source: RegionRecord['source'],
): source is RegionRecord['source'] & { readonly kind: 'remote' | 'web' } {
  return source.kind === 'remote' || (source.kind === 'web' && source.keep);
}

/** Whether the appliance has a file of its own of it. */
export function isKept({ source }: RegionRecord): boolean {
  return isCopy(source) || (source.kind === 'anonymous' && source.persist);
}

/** Whether what is written to it outlives the process once it is synced. */
export function persists(record: RegionRecord): boolean {
  const { source } = record;
  return isKept(record) || 'path' in source || (source.kind === 'callback' && source.takesWrites);
}

/** Why a sync of it makes no sense; nothing when it does. */
export function noSinkOf({ source }: RegionRecord): string | undefined {
  if (source.kind === 'web' && !source.keep) return takesNoWrites(source.url);
  const silent = source.kind === 'callback' && !source.takesWrites;
  return silent ? 'the source of its pages has no writeBack' : undefined;
}
