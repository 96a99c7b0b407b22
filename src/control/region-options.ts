/** What a region shall be made of, as callers of the library say it. */
import type { Access } from '../native/binding.js';
import { parseSize } from '../units.js';
import { checkObject } from './given-options.js';
import type { RegionBody } from './schema.js';

/**
 * A file, `size` bytes of `fill`, or a copy `from` elsewhere. Sizes and offsets are bytes or texts
 * such as `4GiB`, whose units are powers of 1024.
 */
export interface RegionOptions {
  /**
   * 1 to 128 of A-Z a-z 0-9 . _ - and not . or .. alone. Without one `create` takes the base name
   * of the file, and what `allocate` makes ends with its client.
   */
  readonly name?: string | undefined;
  /** Path of a file of the appliance's machine, or the URL of one behind HTTP(S), read-only. */
  readonly file?: string | undefined;
  /** Where in the file it begins: a multiple of the page size, 0 by default. */
  readonly offset?: number | string | undefined;
  /** How much of the file it is; up to its end by default. */
  readonly length?: number | string | undefined;
  /** How large a region without a file is, or the file that `make` makes. */
  readonly size?: number | string | undefined;
  /** Makes the file, of `size` bytes, if there is none. */
  readonly make?: boolean | undefined;
  /** What the pages of a region without a file hold until they are written; `zero` by default. */
  readonly fill?: 'zero' | 'one' | undefined;
  /** What may be done with it at most; by default `read-write` where the file opens so. */
  readonly access?: Access | undefined;
  /** Bytes of it in memory at most; by default it has its share of the appliance's memory. */
  readonly resident?: number | string | undefined;
  /** Lets memory pressure write dirty pages of a mapped file before any sync does. */
  readonly writeBehind?: boolean | undefined;
  /**
   * `mapped`: a file, by the kernel's page cache, the default for one. `staged`: a file read into
   * memory of its own. `anonymous`: no file.
   */
  readonly kind?: 'mapped' | 'staged' | 'anonymous' | undefined;
  /** Keeps what is synced of a region without a file, in a file of the appliance's own. */
  readonly persist?: boolean | undefined;
  /** Its syncs happen wholly or not at all, at one instant; needs a file, or `persist`. */
  readonly atomic?: boolean | undefined;
  /** Takes nothing until it is first touched; regions without a file never do. */
  readonly reserve?: boolean | undefined;
  /** The region elsewhere, or the URL of a file behind HTTP(S), that it is a copy of. */
  readonly from?: string | undefined;
  /** File of the appliance's machine with the token for that. */
  readonly fromTokenFile?: string | undefined;
  /** For how long its first start records which pages are used; each later one replays them. */
  readonly workingSetMs?: number | undefined;
}

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
