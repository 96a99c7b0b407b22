/** Ranges of regions. */
import { FarpageError } from '../errors.js';

/** A range of a region in bytes; to the end when it has no length. */
export interface Range {
  readonly offset: number;
  readonly length?: number | undefined;
}

/** The same within a region, as the border takes it. */
export interface Bounds {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Cuts an open end to the region's; ERR_RANGE beyond it. */
export function boundsOf(region: { name: string; size: number }, range: Range): Bounds {
  const { size, name } = region;
  const { offset, length = size - offset } = range;
  if (offset <= size && length >= 0 && length <= size - offset) {
    return { offset, lengthBytes: length };
  }
  const asked = `${offset} + ${range.length ?? 0}`;
  throw new FarpageError('ERR_RANGE', `${asked} in ${name}, which has ${size} bytes`);
}
