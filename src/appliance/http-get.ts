/** One GET with what may go wrong on its way as codes: redirects, refusals, broken connections. */
import { Agent, type IncomingMessage, request as requestPlain } from 'node:http';
import { packageVersion } from '../control/version.js';
import { shownUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';

/** Connections to one server at a time, and how long an idle one is kept. */
export const CONNECTIONS_MAX = 8;
const IDLE_MS = 30_000;
const REDIRECTS_MAX = 5;
/** What another try may mend: RFC 9110 section 15 and RFC 6585. */
const PASSING: readonly (number | undefined)[] = [408, 425, 429, 500, 502, 503, 504];

/** One connection pool for each scheme; `node:https` is loaded when it is first needed. */
export class HttpAgents {
  readonly #options = { keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS } as const;
  #plain: Agent | undefined;
  #secure: Agent | undefined;
  #closed = false;

  /** Sends a GET; fulfilled with the response's head. */
  async send(
    url: URL,
    options: { headers: Record<string, string>; signal: AbortSignal },
  ): Promise<IncomingMessage> {
    const secure = url.protocol === 'https:' ? await import('node:https') : undefined;
    if (this.#closed) throw new FarpageError('ERR_CLOSED', shownUrl(url));
    if (secure === undefined) this.#plain ??= new Agent(this.#options);
    else this.#secure ??= new secure.Agent(this.#options);
    const agent = secure === undefined ? this.#plain : this.#secure;
    return await new Promise((resolve, reject) => {
      const send = secure?.request ?? requestPlain;
      const sent = send(url, { ...options, agent }, resolve);
      sent.on('error', reject);
      sent.end();
    });
  }

  /** Ends every connection. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#plain?.destroy();
    this.#secure?.destroy();
  }
}

/** The failure of a connection, by its code: a broken protocol, a wrong certificate, away. */
export function brokenBy(error: unknown, url: URL, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof FarpageError) return error;
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  const context = `${shownUrl(url)}: ${message === '' ? code : message}`;
  const options = { cause: error };
  if (code.startsWith('HPE_')) return new FarpageError('ERR_PROTOCOL', context, options);
  const untrusted = /CERT|UNABLE_TO_VERIFY/.test(code);
  return new FarpageError(untrusted ? 'ERR_FILE_ACCESS' : 'ERR_SOURCE_AWAY', context, options);
}

/** The failure that a status stands for; nothing for 200 and 206, which bring bytes. */
export function refusalOf(status: number | undefined, url: URL): FarpageError | undefined {
  const context = `${shownUrl(url)} answered ${status}`;
  if (status === 200 || status === 206) return undefined;
  if (PASSING.includes(status)) return new FarpageError('ERR_SOURCE_AWAY', context);
  switch (status) {
    case 401:
    case 403:
      return new FarpageError('ERR_FILE_ACCESS', context);
    case 404:
    case 410:
    case 412:
    case 416:
      return new FarpageError('ERR_SOURCE_CHANGED', context);
    default:
      return new FarpageError('ERR_PROTOCOL', context);
  }
}

/** Where a response sends the client on to; nothing when it does not. */
function targetOf(response: IncomingMessage, url: URL): URL | undefined {
  const { statusCode = 0, headers } = response;
  if (![301, 302, 303, 307, 308].includes(statusCode)) return undefined;
  try {
    return new URL(headers.location ?? '', url);
  } catch (cause) {
    throw new FarpageError('ERR_PROTOCOL', `${shownUrl(url)} redirects nowhere`, { cause });
  }
}

/**
 * Whether a redirect may be followed: to HTTP(S) without a secret in it, from https: not to http:,
 * and where `check` lets it. ERR_URL_NOT_ALLOWED.
 */
function checkTarget(from: URL, to: URL, check: (url: string) => void): void {
  const web = to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:');
  if (!web || to.username !== '' || to.password !== '') {
    const what = `${shownUrl(from)} redirects to ${to.protocol}//${to.host}`;
    throw new FarpageError('ERR_URL_NOT_ALLOWED', what);
  }
  check(to.href);
}

/**
 * Sends a GET and follows redirects; the response's body is still to be read. The authorization
 * goes to the origin of `url` alone. ERR_URL_NOT_ALLOWED, ERR_SOURCE_AWAY, ERR_FILE_ACCESS,
 * ERR_PROTOCOL, and the signal's reason.
 */
export async function get(
  url: URL,
  options: {
    agents: HttpAgents;
    headers: Record<string, string>;
    authorization: string | undefined;
    signal: AbortSignal;
    check: (url: string) => void;
  },
): Promise<{ response: IncomingMessage; at: URL }> {
  const { agents, authorization, signal, check } = options;
  // What is stored is what is asked for: no byte of an encoding is a byte of the file.
  const plain = { 'accept-encoding': 'identity', 'user-agent': `farpage/${packageVersion()}` };
  let at = url;
  for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
    const own = authorization !== undefined && at.origin === url.origin && { authorization };
    const headers = { ...plain, ...options.headers, ...own };
    const response = await agents.send(at, { headers, signal }).catch((error: unknown) => {
      throw brokenBy(error, at, signal);
    });
    const next = targetOf(response, at);
    if (next === undefined) return { response, at };
    response.on('error', () => {}).destroy();
    checkTarget(at, next, check);
    at = next;
  }
  throw new FarpageError('ERR_PROTOCOL', `${shownUrl(url)} redirects too often`);
}
