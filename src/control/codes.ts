/** How codes of the registry travel over HTTP. */
import { ERROR_TEXT, type ErrorCode, type FarpageError, isErrorCode } from '../errors.js';

const STATUS: Partial<Record<ErrorCode, number>> = {
  ERR_TOKEN: 401,
  ERR_ACCESS: 403,
  ERR_OUTSIDE_ROOT: 403,
  ERR_URL_NOT_ALLOWED: 403,
  ERR_NO_SUCH_REGION: 404,
  ERR_SESSION_ENDED: 404,
  ERR_REGION_EXISTS: 409,
  ERR_REGION_CARVED: 409,
  ERR_REGION_DIRTY: 409,
  ERR_REGION_BUSY: 409,
  ERR_REGION_REMOVED: 410,
  ERR_QUOTA: 429,
  ERR_INTERNAL: 500,
  ERR_IO: 500,
  ERR_STATE_VERSION: 500,
  ERR_STATE_DAMAGED: 500,
  ERR_MEMORY_FULL: 507,
  ERR_NO_SPACE: 507,
};
const STATUS_DEFAULT = 400;

/** The HTTP status of a code; 400 for those that tell of the request itself. */
export function statusOf(code: string): number {
  return isErrorCode(code) ? (STATUS[code] ?? STATUS_DEFAULT) : 500;
}

/** What an error says beyond the sentence of its code, so that the other side can say it again. */
export function contextOf(error: FarpageError): string {
  const sentence = `${ERROR_TEXT[error.code]}: `;
  return error.message.startsWith(sentence) ? error.message.slice(sentence.length) : '';
}
