/** What a region shall be made of, as callers of the library say it. */
import { parseSize } from '../units.js';
import { checkObject } from './given-options.js';
import type { RegionBody } from './schema.js';

const SIZES = ['size', 'resident', 'offset', 'length'] as const;

/** A file, or `size` bytes of `fill`. Sizes may be like `4GiB`. */
export type RegionOptions = Omit<RegionBody, (typeof SIZES)[number]> & {
  readonly [K in (typeof SIZES)[number]]?: number | string | undefined;
};

/** The same with every size in bytes; ERR_SIZE. */
export function regionBodyOf(options: RegionOptions): RegionBody {
  checkObject('the options of a region', options);
  const { size, resident, offset, length, ...rest } = options;
  return {
    ...rest,
    ...(size !== undefined && { size: parseSize(size) }),
    ...(resident !== undefined && { resident: parseSize(resident) }),
    ...(offset !== undefined && { offset: parseSize(offset) }),
    ...(length !== undefined && { length: parseSize(length) }),
  };
}
