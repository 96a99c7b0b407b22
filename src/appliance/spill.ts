/** Where dirty pages go when memory is short and no tier was named: a file without a name. */
import { statfsSync } from 'node:fs';
import { native } from '../native/load.js';
import { floorToPage, formatSize, PAGE_BYTES } from '../units.js';

/** The spill file holds so many times the memory at most: its entries take 0.4 % of that. */
const MEMORIES = 16;
/** And the part of its file system that is free when the appliance starts. */
const FREE_PART = 2;
/** `f_type` of file systems that are memory themselves (statfs(2)): tmpfs and ramfs. */
const IN_MEMORY = new Set([0x01021994, 0x858458f6]);

/** A spill file, or why there is none. */
export type Spill =
  | { readonly directory: string; readonly capacityBytes: number }
  | { readonly directory: string; readonly reason: 'memory' | 'full' | 'unnamed' };

/** Looks at a directory; nothing stays open, and nothing is written there. */
export function spillIn(directory: string, memoryBytes: number): Spill {
  const { type, bavail, bsize } = statfsSync(directory);
  if (IN_MEMORY.has(type)) return { directory, reason: 'memory' };
  const free = floorToPage(Math.floor((bavail * bsize) / FREE_PART));
  if (free < PAGE_BYTES) return { directory, reason: 'full' };
  if (!native().canSpillTo(directory)) return { directory, reason: 'unnamed' };
  return { directory, capacityBytes: Math.min(memoryBytes * MEMORIES, free) };
}

const REASONS = {
  memory: 'that is memory itself',
  full: 'there is no room',
  unnamed: 'that file system has no files without names',
} as const;

/** The same in a line. */
export function describeSpill(spill: Spill): string {
  if ('reason' in spill) {
    return `dirty pages stay in memory, not in ${spill.directory}: ${REASONS[spill.reason]}`;
  }
  const most = formatSize(spill.capacityBytes);
  return `dirty pages beyond the memory go to ${spill.directory}, ${most} at most`;
}
