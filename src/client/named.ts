import { FabricError } from '../errors.js';
import type { Attached } from './attached.js';

/**
 * What the caller of an operation hears in the place of an error: the appliance refuses with a code
 * and nothing else, and on what is known here. `offset` is that in the region.
 */
export function named(error: unknown, attached: Attached, offset: number, length: number): unknown {
  if (!(error instanceof FabricError)) return error;
  const where = `${attached.reply.region}, offset ${offset}, length ${length}`;
  return new FabricError(error.code, error.rdmap, where, { cause: error });
}
