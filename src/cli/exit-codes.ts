/** What the process ends with. */
import { FarpageError } from '../errors.js';

export const EXIT = { done: 0, failed: 1, usage: 2, noAppliance: 3, interrupted: 130 } as const;

/** Of a CommanderError that tells of an interrupted run without a failure. */
export const ENDED = 'farpage.ended';

const USAGE: readonly string[] = ['ERR_ARGUMENT', 'ERR_SIZE', 'ERR_NAME'];

/** The exit code of an error. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof FarpageError)) return EXIT.failed;
  if (error.code === 'ERR_ABORTED') return EXIT.interrupted;
  if (error.code === 'ERR_NO_APPLIANCE') return EXIT.noAppliance;
  return USAGE.includes(error.code) ? EXIT.usage : EXIT.failed;
}
