/** The native region that a record stands for. */
import type {
  AccountHandle,
  MemoryDirectory,
  PagerHandle,
  RegionHandle,
} from '../native/binding.js';
import { native } from '../native/load.js';
import type { PageCallbacks } from './page-callbacks.js';
import { isKept, type RegionRecord } from './record.js';

/** Opens it; fails with what regionOpenFile and regionOpenStaged of the border fail with. */
export function openNative(
  pager: PagerHandle,
  options: {
    record: RegionRecord;
    /** The appliance's own file of it, where it keeps one; of a copy none when it is empty. */
    keptPath: string;
    /** Made just now: its kept file is not there yet. */
    fresh: boolean;
    memory: MemoryDirectory | undefined;
    /** Called when a read of a source elsewhere needs a connection. */
    needDoor: () => void;
    /** Who supplies the pages, where functions do. */
    pages: PageCallbacks | undefined;
    /** Allocates it only when a client touches it. */
    reserve: boolean;
    account: AccountHandle | undefined;
  },
): RegionHandle {
  const { record, keptPath: keep, fresh: make, memory, needDoor, pages } = options;
  const { reserve, account } = options;
  const { source, size: lengthBytes, access, resident: residentBytes } = record;
  const common = { lengthBytes, access, residentBytes, reserve, account };
  if (source.kind === 'mapped') {
    const { path, offset, writeBehind } = source;
    return native().regionOpenFile(pager, { ...common, path, offset, writeBehind });
  }
  const { atomic = false } = record;
  const staged = { ...common, atomic, ...(memory && { memory }) };
  if (source.kind === 'staged') {
    const file = { kind: 'file', path: source.path, offset: source.offset, lengthBytes } as const;
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
