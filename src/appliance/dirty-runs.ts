/** Where a region is dirty. */
import { PAGE_BYTES } from '../units.js';

/** The bit of `regionPageMap` for a dirty page, and what one call of it looks at here. */
const DIRTY = 2;
const WINDOW_BYTES = 65_536 * PAGE_BYTES;

/**
 * The first `max` runs of dirty pages as [offset, length] in bytes, looked for window by window
 * in pictures of a cell per page, until all `dirtyPages` were seen.
 */
export function findDirtyRuns(options: {
  size: number;
  dirtyPages: number;
  max: number;
  pictureOf: (window: { offset: number; length: number }) => Uint8Array;
}): [number, number][] {
  const { size, max, pictureOf } = options;
  const runs: [number, number][] = [];
  let left = options.dirtyPages;
  for (let offset = 0; offset < size && left > 0; offset += WINDOW_BYTES) {
    const cells = pictureOf({ offset, length: Math.min(WINDOW_BYTES, size - offset) });
    for (const [index, cell] of cells.entries()) {
      if ((cell & DIRTY) === 0) continue;
      left -= 1;
      const at = offset + index * PAGE_BYTES;
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === at) last[1] += PAGE_BYTES;
      else if (runs.length < max) runs.push([at, PAGE_BYTES]);
      else return runs;
    }
  }
  return runs;
}
