/** From completion records to errors. */
import { FabricError, FarpageError, isErrorCode } from '../errors.js';

/**
 * The error of a completion: `name` is its entry in the binding's `errorCodes`, `terminate` what a
 * Terminate said (layer<<16 | type<<8 | code) or -1.
 */
export function completionError(name: string | undefined, terminate: number): FarpageError {
  const code = isErrorCode(name) ? name : 'ERR_INTERNAL';
  if (terminate < 0) return new FarpageError(code);
  const rdmap = { layer: terminate >> 16, type: (terminate >> 8) & 0xff, code: terminate & 0xff };
  const said = `Terminate ${rdmap.layer}/${rdmap.type}/${rdmap.code}`;
  return new FabricError(code, rdmap, said);
}
