/** The control plane's client: one appliance, over its Unix socket or TCP, with a deadline each. */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { FarpageError } from '../errors.js';
import { checkOptions, checkWait, WAIT_KEYS } from './given-options.js';
import { fromFailure, parseJson, readBody, validate } from './message.js';
import { checkRegionName } from './region-name.js';
import {
  LINEAGE_HEADER,
  type Params,
  type Reply,
  ROUTES,
  type Route,
  type RouteName,
  type Sent,
  type SentQuery,
} from './routes.js';

/** Deadline of a call unless its options say otherwise. */
export const TIMEOUT_MS = 10_000;
/** The longest that a timer can wait: longer deadlines than 24 days are none. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Calls `late` after a deadline, which 0 and what no timer can wait for are not. */
export function timerOf(timeoutMs: number, late: () => void): NodeJS.Timeout | undefined {
  return timeoutMs === 0 || timeoutMs > TIMER_MS_MAX ? undefined : setTimeout(late, timeoutMs);
}
/** Bytes of one reply at most: a list of thousands of regions fits. */
const REPLY_BYTES_MAX = 64 * 1024 * 1024;
const CONNECTIONS_MAX = 16;

/** Where an appliance listens. */
export type ControlAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** What every call that waits takes. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Deadline in milliseconds, 0 for none; 10 s by default. */
  readonly timeoutMs?: number | undefined;
}

/** Of a call about regions that were attached: their lineages, in the order of their names. */
interface MeansOptions {
  readonly lineages?: readonly string[] | undefined;
}

type Part<Name extends string, T> = [T] extends [undefined] ? unknown : { readonly [K in Name]: T };
export type CallOptions<K extends RouteName> = WaitOptions &
  MeansOptions &
  Part<'body', Sent<K>> &
  Part<'query', SentQuery<K>> &
  (keyof Params<K> extends never ? unknown : { readonly params: Params<K> });

interface Plain extends WaitOptions, MeansOptions {
  readonly params?: Record<string, string | number>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

/**
 * Connections that were idle for longer are not used again: the appliance closes them after a
 * minute, and who blocked this thread meanwhile has not heard of that.
 */
const IDLE_MS_MAX = 30_000;
/** What a connection ends with that the appliance closed while it was kept for later calls. */
const STALE = ['ECONNRESET', 'EPIPE'];
/** What a call takes, by name. */
const CALL_KEYS = ['params', 'query', 'body', 'lineages', ...WAIT_KEYS] as const;
const UNREACHABLE = ['ECONNREFUSED', 'ENOENT', 'ENOTSOCK', 'ENOTFOUND', 'EHOSTUNREACH'];

function describe(address: ControlAddress): string {
  return 'path' in address ? address.path : `${address.host}:${address.port}`;
}

function fillPath(path: string, params: Plain['params'] = {}): string {
  return path.replace(/:(\w+)/g, (_, name: string) => {
    const given = params[name];
    if (given === undefined) throw new FarpageError('ERR_ARGUMENT', `${name} is missing`);
    const value = String(given);
    return encodeURIComponent(name === 'region' ? checkRegionName(value) : value);
  });
}

/**
 * Speaks to one appliance. Replies are validated; failures become the `FarpageError` they were.
 * ERR_NO_APPLIANCE when nobody listens there, ERR_CONNECTION when the connection ends early,
 * ERR_TIMEOUT and ERR_ABORTED for the caller's bounds, ERR_PROTOCOL for replies of something else.
 */
export class ControlClient implements Disposable {
  readonly address: ControlAddress;
  readonly #token: string | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, maxFreeSockets: 1 });

  #usedMs = 0;

  constructor(options: { address: ControlAddress; token?: string | undefined }) {
    this.address = options.address;
    this.#token = options.token;
  }

  /** Calls one route of the table. */
  async call<K extends RouteName>(name: K, options: CallOptions<K>): Promise<Reply<K>> {
    const route: Route = ROUTES[name];
    checkOptions('limits', options, CALL_KEYS);
    checkWait(options);
    const { params, query, body, lineages, signal, timeoutMs } = options as Plain;
    const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(
      pairs.map(([key, value]): [string, string] => [key, String(value)]),
    );
    const path = `${fillPath(route.path, params)}${search.size > 0 ? `?${search}` : ''}`;
    const text = route.body === undefined ? undefined : JSON.stringify(body ?? {});
    const bound = deadline({ signal, timeoutMs });
    this.#dropIdle();
    try {
      const sent = { method: route.method, text, lineages, signal: bound.signal };
      const message = await this.#send(path, sent);
      const value = parseJson(await readBody(message, REPLY_BYTES_MAX), 'ERR_PROTOCOL');
      if (message.statusCode !== 200) throw fromFailure(value);
      return validate(route.reply, value, 'ERR_PROTOCOL') as Reply<K>;
    } catch (error) {
      throw this.#translate(error, { signal, path });
    } finally {
      this.#usedMs = performance.now();
      bound.clear();
    }
  }

  #dropIdle(): void {
    if (performance.now() - this.#usedMs < IDLE_MS_MAX) return;
    for (const socket of Object.values(this.#agent.freeSockets).flat()) socket?.destroy();
  }

  /**
   * Opens a reply that stays open, on a connection of its own that does not hold the process;
   * `onEnd` is called once it is gone, for whatever reason, with the status of the answer if there
   * was one. Returns what ends it.
   */
  open(path: string, onEnd: (status: number | undefined) => void): () => void {
    const request = this.#request(path, { method: 'GET', agent: false });
    let status: number | undefined;
    let ended = false;
    const end = () => {
      if (!ended) onEnd(status);
      ended = true;
    };
    request.once('socket', (socket) => socket.unref());
    request.once('response', (message) => {
      status = message.statusCode;
      message.resume();
      message.once('close', end);
    });
    request.once('error', end);
    request.once('close', end);
    request.end();
    return () => {
      ended = true;
      request.destroy();
    };
  }

  /** Closes idle connections. Idempotent. */
  close(): void {
    this.#agent.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #request(path: string, options: { method: string; agent?: false; signal?: AbortSignal }) {
    const to =
      'path' in this.address
        ? { socketPath: this.address.path, host: 'localhost' }
        : { host: this.address.host, port: this.address.port };
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#token !== undefined) headers.authorization = `Bearer ${this.#token}`;
    return httpRequest({ agent: this.#agent, ...to, ...options, path, headers });
  }

  /**
   * Settles with the head of the answer. A GET that a kept connection had no answer for is repeated
   * once on a new one (RFC 9110, section 9.2.2): an appliance that was blocked for long closes them
   * when it goes on. Of other methods nobody knows whether the first one was done.
   */
  #send(
    path: string,
    options: {
      method: string;
      text: string | undefined;
      lineages: readonly string[] | undefined;
      signal: AbortSignal;
      agent?: false;
    },
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { method, signal, agent } = options;
      const request = this.#request(path, { method, signal, ...(agent === false && { agent }) });
      request.once('response', resolve);
      request.once('error', (error: NodeJS.ErrnoException) => {
        const stale = request.reusedSocket && STALE.includes(error.code ?? '');
        if (stale && method === 'GET') resolve(this.#send(path, { ...options, agent: false }));
        else reject(error);
      });
      if (options.lineages !== undefined) {
        request.setHeader(LINEAGE_HEADER, options.lineages.join(','));
      }
      if (options.text !== undefined) {
        request.setHeader('content-type', 'application/json');
        request.setHeader('content-length', Buffer.byteLength(options.text));
      }
      request.end(options.text);
    });
  }

  #translate(
    error: unknown,
    call: { signal: AbortSignal | undefined; path: string },
  ): FarpageError {
    if (error instanceof FarpageError) return error;
    const where = describe(this.address);
    const { name, code = '' } = error as NodeJS.ErrnoException;
    if (call.signal?.aborted) return new FarpageError('ERR_ABORTED', where, { cause: error });
    if (name === 'AbortError') return new FarpageError('ERR_TIMEOUT', where, { cause: error });
    if (UNREACHABLE.includes(code)) {
      return new FarpageError('ERR_NO_APPLIANCE', where, { cause: error });
    }
    if (code === 'EACCES') {
      return new FarpageError('ERR_FILE_ACCESS', `the socket ${where}`, { cause: error });
    }
    return new FarpageError('ERR_CONNECTION', where, { cause: error });
  }
}

/** One signal for a caller's signal and a deadline, and a way to drop its timer. */
function deadline(options: WaitOptions): { signal: AbortSignal; clear: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const { timeoutMs = TIMEOUT_MS } = options;
  const timer = timerOf(timeoutMs, abort);
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener('abort', abort, { once: true });
  const clear = () => {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', abort);
  };
  return { signal: controller.signal, clear };
}
