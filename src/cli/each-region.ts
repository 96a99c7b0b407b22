/** A command for several regions: one that fails does not keep the others from their turn. */
import { contextOf } from '../control/codes.js';
import { type ErrorCode, FarpageError } from '../errors.js';
import type { Shell, Target } from './options.js';

export type RegionTarget = Target & { readonly region: string };

/** After these there is nothing more to be had from the appliance, or nobody wants it. */
const FOR_ALL: readonly ErrorCode[] = [
  'ERR_NO_APPLIANCE',
  'ERR_CONNECTION',
  'ERR_TOKEN',
  'ERR_ABORTED',
];

/** The same failure, with the region that it is about. */
export function named(region: string, error: FarpageError): FarpageError {
  const context = contextOf(error);
  const says = context === region || [' ', ':'].some((end) => context.startsWith(region + end));
  if (says) return error;
  const about = context === '' ? region : `${region}: ${context}`;
  return new FarpageError(error.code, about, { cause: error });
}

/**
 * Runs it for each region in turn and returns the failures, in order; `failed` hears of each when
 * it happens. Throws what is no region's own failure at once.
 */
export async function forEachRegion(
  targets: readonly RegionTarget[],
  run: (target: RegionTarget) => Promise<void>,
  failed: (region: string, error: FarpageError) => void = () => {},
): Promise<FarpageError[]> {
  const failures: FarpageError[] = [];
  for (const target of targets) {
    try {
      await run(target);
    } catch (error) {
      if (!(error instanceof FarpageError) || FOR_ALL.includes(error.code)) throw error;
      const failure = named(target.region, error);
      failures.push(failure);
      failed(target.region, failure);
    }
  }
  return failures;
}

/** Prints all failures but the last, which it throws: the exit code says that there were some. */
export function tellFailures(failures: readonly FarpageError[], { out }: Pick<Shell, 'out'>): void {
  for (const failure of failures.slice(0, -1)) out.failure(failure);
  const last = failures.at(-1);
  if (last !== undefined) throw last;
}
