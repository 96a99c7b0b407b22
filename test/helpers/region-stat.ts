/** Figures of regions as an appliance tells them, made up. */
import type { Reading } from '../../src/cli/top/sample.js';
import type { RegionStat } from '../../src/control/schema.js';

interface Figures {
  readonly size?: number;
  readonly bypassed?: number;
  readonly faulted?: number;
  readonly bytes?: number;
  readonly filled?: number;
  readonly writtenBack?: number;
  readonly present?: number;
  readonly dirty?: number;
}

export function statOf(name: string, figures: Figures): RegionStat {
  const { size = 2 ** 20, bypassed = 0, faulted = 0, bytes = 0 } = figures;
  const { filled = 0, writtenBack = 0, present = 0, dirty = 0 } = figures;
  return {
    name,
    kind: 'anonymous',
    access: 'read-write',
    size,
    pageSize: 4096,
    address: null,
    reservedBytes: size,
    allocatedBytes: size,
    pages: {
      total: size / 4096,
      present,
      dirty,
      written: dirty,
      lost: 0,
      elsewhere: 0,
      unreachable: 0,
      pinned: 0,
    },
    frames: { max: 256, used: present, tables: 0 },
    operations: { bypassed, faulted, bytes },
    fills: { pages: filled / 4096, bytes: filled, read: 0 },
    writebacks: { pages: writtenBack / 4096, bytes: writtenBack },
    syncAgeMs: null,
    state: 'ready',
    persist: false,
    atomic: false,
  };
}

export function readingOf(atMs: number, regions: readonly RegionStat[]): Reading {
  const memory = {
    capacityBytes: 2 ** 30,
    pages: 10,
    pageBytes: 40_960,
    tableBytes: 8192,
    ownBytes: 50 * 2 ** 20,
  };
  return { atMs, regions, tiers: { memory, tiers: [] } };
}
