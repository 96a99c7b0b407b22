/** The levels below memory: how they are named, and their figures. */
import { mkdirSync } from 'node:fs';
import type { TierList } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { PagerHandle, PagerOptions, TierOptions } from '../native/binding.js';
import { native } from '../native/load.js';
import { PAGE_BYTES, parseSize } from '../units.js';

/** Tiers of one appliance at most, and the smallest of each kind: a chunk of slots, a page. */
const TIERS_MAX = 8;
const LEAST_PAGES = { compressed: 16, file: 1 } as const;

/**
 * A tier of `compressed:SIZE` or `file:DIRECTORY:SIZE`. ERR_ARGUMENT, ERR_SIZE.
 */
export function parseTier(text: string): TierOptions {
  const [, kind, directory, size = ''] = /^(compressed|file)(?::(.+))?:([^:]+)$/.exec(text) ?? [];
  if (kind === 'compressed' && directory === undefined) {
    return { kind, capacityBytes: parseSize(size) };
  }
  if (kind === 'file' && directory !== undefined) {
    return { kind, directory, capacityBytes: parseSize(size) };
  }
  const forms = 'compressed:SIZE or file:DIRECTORY:SIZE';
  throw new FarpageError('ERR_ARGUMENT', `"${text}" is no tier; write ${forms}`);
}

/** Makes the last part of a path, if it is missing: a mistyped one shall not grow a tree. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new FarpageError(missing ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_ACCESS', path, { cause });
  }
}

/** Checks tiers and makes the directories that are missing. ERR_ARGUMENT, ERR_SIZE, ERR_FILE_*. */
export function resolveTiers(given: readonly (TierOptions | string)[]): TierOptions[] {
  const tiers = given.map((tier) => (typeof tier === 'string' ? parseTier(tier) : tier));
  if (tiers.length > TIERS_MAX) {
    throw new FarpageError('ERR_ARGUMENT', `${tiers.length} tiers; ${TIERS_MAX} at most`);
  }
  for (const tier of tiers) {
    const least = LEAST_PAGES[tier.kind] * PAGE_BYTES;
    if (!Number.isSafeInteger(tier.capacityBytes) || tier.capacityBytes < least) {
      throw new FarpageError('ERR_ARGUMENT', `a ${tier.kind} tier holds ${least} bytes at least`);
    }
    if (tier.kind === 'file') makeDirectory(tier.directory);
  }
  return tiers;
}

/** Memory and the tiers below it as they are now. */
export function tierList(pager: PagerHandle, options: PagerOptions): TierList {
  const { memoryBytes: capacityBytes, presentPages: pages } = native().pagerStats(pager);
  const tiers = native().pagerTiers(pager);
  return {
    memory: { capacityBytes, pages },
    tiers: tiers.map((tier, index) => {
      const given = options.tiers?.[index];
      return { ...tier, ...(given?.kind === 'file' && { directory: given.directory }) };
    }),
  };
}
