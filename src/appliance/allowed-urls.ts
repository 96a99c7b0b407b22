/** Which URLs TCP clients may have the appliance read. */
import type { Door } from '../control/authorize.js';
import { isWebUrl, shownUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';

/** Whether `url` is `prefix` or lies below it: a prefix ends where a part of the URL ends. */
function isBelow(url: string, prefix: string): boolean {
  if (!url.startsWith(prefix)) return false;
  return prefix.endsWith('/') || ['', '/', '?'].includes(url.charAt(prefix.length));
}

/**
 * Lets the administrator name any URL and TCP clients those below a prefix. ERR_URL_NOT_ALLOWED;
 * ERR_ACCESS when a TCP client names a file with a token.
 */
export function checkUrl(
  url: string,
  options: { door: Door; allowed: readonly string[]; tokenFile: string | undefined },
): void {
  if (options.door === 'unix') return;
  // As a parser writes it, so that dots and cases cannot lead out of a prefix.
  const plain = URL.canParse(url) ? new URL(url).href : url;
  if (!options.allowed.some((prefix) => isBelow(plain, prefix))) {
    throw new FarpageError('ERR_URL_NOT_ALLOWED', isWebUrl(plain) ? shownUrl(plain) : url);
  }
  if (options.tokenFile === undefined) return;
  throw new FarpageError('ERR_ACCESS', 'a token file is named on the Unix socket');
}
