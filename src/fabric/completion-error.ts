/** From completion records to errors. */
import { FabricError, FarpageError, isErrorCode } from '../errors.js';

/**
 * The error of a completion: `name` is its entry in the binding's `errorCodes`, `terminate` what a
 * Terminate said (layer<<16 | type<<8 | code) or -1, `place` what was accessed.
 */
export function completionError(
  name: string | undefined,
  terminate: number,
  place: { readonly offset: number; readonly length: number },
): FarpageError {
  const code = isErrorCode(name) ? name : 'ERR_INTERNAL';
  const where = `offset ${place.offset}, length ${place.length}`;
  if (terminate < 0) return new FarpageError(code, where);
  const rdmap = { layer: terminate >> 16, type: (terminate >> 8) & 0xff, code: terminate & 0xff };
  const said = `Terminate ${rdmap.layer}/${rdmap.type}/${rdmap.code}`;
  return new FabricError(code, rdmap, `${where} (${said})`);
}
