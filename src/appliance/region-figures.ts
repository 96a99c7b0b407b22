/** The native figures of a region in the words of the control plane. */
import type { RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { pageCount } from '../units.js';

/** Zero for an idle region, which has no handle, and for a reserved one. `size` in bytes. */
export function figuresOf(handle: RegionHandle | undefined, size: number) {
  const found = handle && native().regionStats(handle);
  return {
    connected: found?.sourceConnected ?? false,
    failure: found?.failure ?? null,
    address: found === undefined || found.address === 0n ? null : `0x${found.address.toString(16)}`,
    reservedBytes: size,
    allocatedBytes: found?.allocatedBytes ?? 0,
    pages: {
      total: found?.totalPages ?? pageCount(size),
      present: found?.presentPages ?? 0,
      dirty: found?.dirtyPages ?? 0,
      written: found?.writtenPages ?? 0,
      lost: found?.lostPages ?? 0,
    },
    frames: { max: found?.maxFrames ?? 0, used: found?.usedFrames ?? 0 },
    operations: {
      bypassed: found?.bypassedOperations ?? 0,
      faulted: found?.faultedOperations ?? 0,
    },
    fills: {
      pages: found?.filledPages ?? 0,
      bytes: found?.filledBytes ?? 0,
      read: found?.readPages ?? 0,
    },
    writebacks: { pages: found?.writtenBackPages ?? 0, bytes: found?.writtenBackBytes ?? 0 },
  };
}
