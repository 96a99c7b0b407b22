/** Which URLs TCP clients may have the appliance read. */
import type { Door } from '../control/authorize.js';
import { isWebUrl, shownUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';

const SCHEMES = ['farpage:', 'farpage+unix:', 'http:', 'https:'];

/** ERR_ARGUMENT for a prefix that no URL of a source could begin with. */
export function checkPrefixes(prefixes: readonly string[]): readonly string[] {
  for (const prefix of prefixes) {
    if (URL.canParse(prefix) && SCHEMES.includes(new URL(prefix).protocol)) continue;
    const forms = 'write farpage://host, farpage+unix:/path, or https://host/directory';
    throw new FarpageError('ERR_ARGUMENT', `"${prefix}" begins no URL of a source; ${forms}`);
  }
  return prefixes;
}

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
