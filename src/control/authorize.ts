/** Who may talk to a control door at all; what he may then do is the appliance's business. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FarpageError } from '../errors.js';

/** The door a request came through: the administrator's Unix socket, or TCP. */
export type Door = 'unix' | 'tcp';

const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Whether both texts are the same, in a time that does not depend on where they differ. */
export function sameSecret(left: string, right: string): boolean {
  return timingSafeEqual(digest(left), digest(right));
}

/** Whether a host, perhaps with a port behind it, names this machine only. */
export function isLoopback(host: string): boolean {
  const isBareV6 = host.split(':').length > 2 && !host.startsWith('[');
  return LOOPBACK_HOST.test(isBareV6 ? `[${host}]` : host);
}

/**
 * Lets a request in or throws: ERR_TOKEN without the right `Authorization: Bearer` token.
 * A TCP door without a token is a loopback one; there a page in a browser could reach it, so what
 * carries an `Origin`, or a `Host` that is not this machine's (DNS rebinding), is refused.
 */
export function authorize(
  request: IncomingMessage,
  options: { door: Door; token: string | undefined },
): void {
  if (options.door === 'unix') return;
  if (options.token === undefined) {
    if (request.headers.origin === undefined && isLoopback(request.headers.host ?? '')) return;
    throw new FarpageError('ERR_TOKEN', 'requests of web pages are refused');
  }
  const [scheme = '', given = ''] = (request.headers.authorization ?? '').split(' ', 2);
  if (scheme.toLowerCase() !== 'bearer' || !sameSecret(given, options.token)) {
    throw new FarpageError('ERR_TOKEN', given === '' ? 'no token was given' : '');
  }
}
