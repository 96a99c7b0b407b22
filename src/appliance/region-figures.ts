/** What a region is and does, in the words of the control plane. */

import { contextOf } from '../control/codes.js';
import type { RegionStat } from '../control/schema.js';
import { shownUrl } from '../control/web-url.js';
import { FarpageError, isErrorCode } from '../errors.js';
import type { FoundPages, RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { formatCount, PAGE_BYTES, pageCount } from '../units.js';
import type { RegionRecord } from './record.js';

/** Where the bytes of a region come from, as `stat` tells it; without what may be a secret. */
function originOf(
  source: RegionRecord['source'],
  connected: boolean,
): Pick<RegionStat, 'fill' | 'file' | 'from'> {
  switch (source.kind) {
    case 'anonymous':
      return { fill: source.fill };
    case 'remote':
      return { from: { url: source.url, connected, detached: source.detached ?? false } };
    case 'web': {
      const url = shownUrl(source.url);
      if (source.keep) return { from: { url, connected, detached: source.detached ?? false } };
      return { file: { path: url, offset: source.offset } };
    }
    case 'callback':
      return {};
    default:
      return { file: { path: source.path, offset: source.offset } };
  }
}

/** What a region says whose last write-back left pages dirty, `lost` of which are nowhere. */
export function unwrittenOf(
  code: string | null,
  { lost, said }: { lost: number; said: FarpageError | undefined },
): FarpageError | undefined {
  if (!isErrorCode(code)) return undefined;
  const stays =
    lost === 0 ? 'its dirty pages stay in memory' : `${formatCount(lost, 'page')} of it lost`;
  const why = said?.code === code ? contextOf(said) : '';
  return new FarpageError(code, why === '' ? stays : `${why}; ${stays}`);
}

/**
 * Zero for an idle region, which has no handle, but for what is `left` of it in memory, and for a
 * reserved one. `size` in bytes.
 */
export function figuresOf(
  handle: RegionHandle | undefined,
  size: number,
  idle: { readonly left: FoundPages },
) {
  const found = handle && native().regionStats(handle);
  const left = found === undefined ? idle.left : undefined;
  return {
    connected: found?.sourceConnected ?? false,
    failure: found?.failure ?? null,
    unwritten: found?.writeBackFailure ?? null,
    address: found === undefined || found.address === 0n ? null : `0x${found.address.toString(16)}`,
    reservedBytes: size,
    allocatedBytes: found?.allocatedBytes ?? 0,
    pages: {
      total: found?.totalPages ?? pageCount(size),
      present: found?.presentPages ?? left?.present ?? 0,
      dirty: found?.dirtyPages ?? left?.dirty ?? 0,
      written: found?.writtenPages ?? 0,
      lost: found?.lostPages ?? 0,
      elsewhere: found?.elsewherePages ?? 0,
      unreachable: found?.unreachablePages ?? 0,
      pinned: found?.pinnedPages ?? 0,
    },
    frames: {
      max: found?.maxFrames ?? 0,
      used: found?.usedFrames ?? 0,
      tables: found?.tablePages ?? 0,
    },
    operations: {
      bypassed: found?.bypassedOperations ?? 0,
      faulted: found?.faultedOperations ?? 0,
      bytes: found?.operationBytes ?? 0,
    },
    fills: {
      pages: found?.filledPages ?? 0,
      bytes: found?.filledBytes ?? 0,
      read: found?.readPages ?? 0,
    },
    writebacks: { pages: found?.writtenBackPages ?? 0, bytes: found?.writtenBackBytes ?? 0 },
  };
}

/** How far it is, unless it is being removed; `failure` is why it could not be reached. */
export function stateOf(
  native: { allocatedBytes: number },
  opened: object | undefined,
  failure: FarpageError | undefined,
): RegionStat['state'] {
  if (failure !== undefined) return 'unavailable';
  if (opened === undefined) return 'idle';
  return native.allocatedBytes > 0 ? 'ready' : 'reserved';
}

/** What its record says of it, and whether its source elsewhere is `connected`. */
export function describe(record: RegionRecord, { connected }: { connected: boolean }) {
  const { name, access, size, source, atomic = false } = record;
  const own = source.kind === 'mapped' || source.kind === 'anonymous';
  return {
    name,
    kind: own ? source.kind : ('staged' as const),
    access,
    size,
    pageSize: PAGE_BYTES,
    atomic,
    ...originOf(source, connected),
  };
}
