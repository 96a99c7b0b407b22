/** The native region that a record stands for. */
import { constants } from 'node:os';
import { contextOf } from '../control/codes.js';
import { FarpageError } from '../errors.js';
import type {
  AccountHandle,
  MemoryDirectory,
  NativeFailure,
  PagerHandle,
  RegionHandle,
} from '../native/binding.js';
import { native } from '../native/load.js';
import type { PageCallbacks } from './page-callbacks.js';
import { isKept, type RegionRecord, tooLarge } from './record.js';

interface NativeOptions {
  readonly record: RegionRecord;
  /** The appliance's own file of it, where it keeps one; of a copy none when it is empty. */
  readonly keptPath: string;
  /** Made just now: its kept file is not there yet. */
  readonly fresh: boolean;
  readonly memory: MemoryDirectory | undefined;
  /** Called when a read of a source elsewhere needs a connection. */
  readonly needDoor: () => void;
  /** Who supplies the pages, where functions do. */
  readonly pages: PageCallbacks | undefined;
  /** Allocates it only when a client touches it. */
  readonly reserve: boolean;
  readonly account: AccountHandle | undefined;
}

/** Which file a failure is of: the native side says what call failed, and not on what. */
function withFile(error: unknown, path: string, lengthBytes: number): unknown {
  if (!(error instanceof FarpageError) || path === '' || error.message.includes(path)) return error;
  if (!/^ERR_(FILE_.+|IO|NO_SPACE|STATE_.+)$/.test(error.code)) return error;
  const said = contextOf(error);
  const { errno } = (error.cause ?? {}) as Partial<NativeFailure>;
  const sizes = errno === constants.errno.EFBIG && said.startsWith('ftruncate kept file');
  if (sizes) return tooLarge(path, lengthBytes, error);
  const context = said === '' ? path : `${path}: ${said}`;
  return new FarpageError(error.code, context, { cause: error });
}

/** A failure of the files in the memory directory, as the native side says it (memory_files.cc). */
function ofMemory(error: unknown): boolean {
  return error instanceof FarpageError && /\bmemory\b|page table/.test(contextOf(error));
}

/** Opens it; fails with what regionOpenFile and regionOpenStaged of the border fail with. */
export function openNative(pager: PagerHandle, options: NativeOptions): RegionHandle {
  try {
    return open(pager, options);
  } catch (error) {
    const { record, memory, keptPath } = options;
    const path = 'path' in record.source ? record.source.path : keptPath;
    const place = memory !== undefined && ofMemory(error) ? memory.directory : path;
    throw withFile(error, place, record.size);
  }
}

function open(pager: PagerHandle, options: NativeOptions): RegionHandle {
  const { record, keptPath: keep, fresh: make, memory, needDoor, pages } = options;
  const { reserve, account } = options;
  const { source, size: lengthBytes, access, resident: residentBytes } = record;
  const common = { lengthBytes, access, residentBytes, reserve, account };
  // Who made the record has looked at the file; perhaps it was cut while nobody served it.
  const known = true;
  if (source.kind === 'mapped') {
    const { path, offset, writeBehind } = source;
    return native().regionOpenFile(pager, { ...common, path, offset, writeBehind, known });
  }
  const { atomic = false } = record;
  const staged = { ...common, atomic, ...(memory && { memory }) };
  if (source.kind === 'staged') {
    const { path, offset } = source;
    const file = { kind: 'file', path, offset, lengthBytes, known } as const;
    return native().regionOpenStaged(pager, { ...staged, source: file });
  }
  if (source.kind === 'web' || source.kind === 'callback') {
    const supplied = pages?.pageSource(lengthBytes) ?? ({ kind: 'none' } as const);
    const kept = isKept(record) && { keep, make };
    const handle = native().regionOpenStaged(pager, { ...staged, source: supplied, ...kept });
    pages?.begin(handle);
    return handle;
  }
  if (source.kind === 'remote') {
    const remote = { kind: 'remote', lengthBytes, needDoor } as const;
    const from = source.detached ? ({ kind: 'none' } as const) : remote;
    return native().regionOpenStaged(pager, { ...staged, source: from, keep, make });
  }
  const kept = source.persist && { keep, make };
  return native().regionOpenStaged(pager, { ...staged, source: { kind: source.fill }, ...kept });
}
