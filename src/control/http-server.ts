/**
 * The control plane's server: HTTP and JSON on a Unix socket and on TCP. node:http with a small
 * router (rou3), because a framework's load time alone would be the whole budget of a start.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { addRoute, createRouter, findRoute } from 'rou3';
import { FarpageError } from '../errors.js';
import { authorize, type Door } from './authorize.js';
import { statusOf } from './codes.js';
import type { Call, ControlService } from './handlers.js';
import { listenTcp, listenUnix } from './listen.js';
import { parseJson, readBody, toFailure, validate } from './message.js';
import { HOLD_PATH, LINEAGE_HEADER, PARAMS, ROUTES, type Route, type RouteName } from './routes.js';

/** Control connections of a door beyond what its sessions need; further ones end at accept. */
const CONNECTIONS_SPARE = 64;
/** One holds the session, one is kept for its calls. */
const CONNECTIONS_PER_SESSION = 2;
const HEADERS_TIMEOUT_MS = 10_000;
/** Receiving one request; how long its answer takes is not bounded by this. */
const REQUEST_TIMEOUT_MS = 15_000;
/** How often these two are looked at: by default every 30 s, which is what the silent would get. */
const LOOK_MS = 1000;
const KEEP_ALIVE_MS = 60_000;
/** With the lineages of as many regions as one call may name (GROUP_REGIONS_MAX, 33 bytes each). */
const HEADER_BYTES_MAX = 16_384;
/**
 * After so long of silence the kernel asks whether the peer of a held TCP connection is still there
 * (tcp(7), TCP_KEEPIDLE), and gives it up after ten questions, a second apart. The peer's kernel
 * answers for a process that is busy or stopped, and nothing is sent that could wait for an answer.
 */
const HOLD_SILENT_MS = 10_000;

type Target = RouteName | 'hold' | 'metrics' | 'openapi';

function buildRouter() {
  const router = createRouter<Target>();
  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
    addRoute(router, route.method, route.path, name);
  }
  addRoute(router, 'GET', HOLD_PATH, 'hold');
  addRoute(router, 'GET', '/metrics', 'metrics');
  addRoute(router, 'GET', '/openapi.json', 'openapi');
  return router;
}

/** Methods of the routes, for those that ask with another one (RFC 9110 section 15.5.6). */
const METHODS = ['GET', 'POST', 'DELETE'];

/** Of a request; ERR_ARGUMENT where its target is none. */
function urlOf({ url: target = '/' }: IncomingMessage): URL {
  try {
    return new URL(target, 'http://appliance');
  } catch (cause) {
    throw new FarpageError('ERR_ARGUMENT', `${target} is no request target`, { cause });
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new FarpageError('ERR_ARGUMENT', `${text} is not percent-encoded text`, { cause });
  }
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

/** Serves one `ControlService` on any number of doors until it is closed. */
export class ControlServer implements AsyncDisposable {
  readonly #service: ControlService;
  readonly #token: string | undefined;
  readonly #connectionsMax: number;
  readonly #router = buildRouter();
  readonly #servers: Server[] = [];

  constructor(options: {
    service: ControlService;
    /** All of them can be open, and who opens one more is told so. */
    sessionsMax: number;
    token?: string | undefined;
  }) {
    this.#connectionsMax = options.sessionsMax * CONNECTIONS_PER_SESSION + CONNECTIONS_SPARE;
    this.#service = options.service;
    this.#token = options.token;
  }

  /** Listens on a Unix socket of mode 0600; ERR_SOCKET_PATH, ERR_APPLIANCE_RUNNING. */
  async listenUnix(path: string): Promise<void> {
    await listenUnix(this.#open('unix'), path);
  }

  /** Listens on TCP and returns the port that was bound; ERR_ADDRESS_IN_USE. */
  async listenTcp(options: { host: string; port: number }): Promise<number> {
    return await listenTcp(this.#open('tcp'), options);
  }

  /** Stops accepting and ends every connection, those that hold sessions too. Idempotent. */
  async close(): Promise<void> {
    const servers = this.#servers.splice(0);
    await Promise.all(
      servers.map((server) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        server.closeAllConnections();
        return closed;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #open(door: Door): Server {
    const server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        connectionsCheckingInterval: LOOK_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: HEADER_BYTES_MAX,
        noDelay: true,
      },
      (request, response) => {
        this.#serve(request, response, door).catch((error: unknown) => {
          if (response.headersSent || response.destroyed) {
            response.destroy();
            return;
          }
          const failure = toFailure(error);
          if (!request.complete) response.setHeader('connection', 'close');
          sendJson(response, statusOf(failure.code), failure);
        });
      },
    );
    server.maxConnections = this.#connectionsMax;
    this.#servers.push(server);
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse, door: Door): Promise<void> {
    const url = urlOf(request);
    const method = request.method ?? 'GET';
    // The answer of a HEAD is that of a GET, of which node:http sends the head alone.
    const found = findRoute(this.#router, method === 'HEAD' ? 'GET' : method, url.pathname);
    if (found?.data !== 'health') authorize(request, { door, token: this.#token });
    if (found === undefined) return this.#unknown(response, method, url.pathname);
    const params = this.#params(found.params ?? {});
    if (found.data === 'hold') return this.#hold(response, String(params.session));
    if (found.data === 'metrics') {
      const { contentType, text } = await this.#service.metrics();
      response.writeHead(200, { 'content-type': contentType }).end(text);
      return;
    }
    if (found.data === 'openapi') {
      const { openApiDocument } = await import('./openapi.js');
      return sendJson(response, 200, openApiDocument());
    }
    const route: Route = ROUTES[found.data];
    const query = Object.fromEntries(url.searchParams);
    const call = {
      params,
      door,
      query: route.query && validate(route.query, query, 'ERR_ARGUMENT'),
      body: route.body && (await this.#body(request, route.body)),
    };
    this.#means(request, [params, call.body]);
    // The table ties each name to its own types; that the pair fits is known only to it.
    const handler = this.#service.handlers[found.data] as (call: unknown) => unknown;
    const reply = await handler(call satisfies Call<never>);
    sendJson(response, 200, validate(route.reply, reply, 'ERR_INTERNAL'));
  }

  #unknown(response: ServerResponse, method: string, path: string): void {
    const what = `there is no ${method} ${path}; see /openapi.json`;
    const failure = toFailure(new FarpageError('ERR_ARGUMENT', what));
    const allowed = METHODS.filter((each) => findRoute(this.#router, each, path) !== undefined);
    if (allowed.length > 0) response.setHeader('allow', allowed.join(', '));
    sendJson(response, allowed.length > 0 ? 405 : 404, failure);
  }

  /** Holds the regions of a request against those that its sender means, if it says so. */
  #means(request: IncomingMessage, [params, body]: [Record<string, unknown>, unknown]): void {
    const said = request.headers[LINEAGE_HEADER];
    if (said === undefined) return;
    const { region, regions } = { ...(body as object), ...params } as Record<string, unknown>;
    const names = (Array.isArray(regions) ? regions : [region]).map(String);
    this.#service.means(names, String(said).split(','));
  }

  #params(found: Record<string, string>): Record<string, unknown> {
    const params: Record<string, unknown> = {};
    for (const name of Object.keys(found) as (keyof typeof PARAMS)[]) {
      params[name] = validate(PARAMS[name], decode(found[name] ?? ''), 'ERR_ARGUMENT');
    }
    return params;
  }

  async #body(request: IncomingMessage, schema: NonNullable<Route['body']>): Promise<unknown> {
    const text = await readBody(request);
    const value = text === '' ? {} : parseJson(text, 'ERR_ARGUMENT');
    // Its methods would be taken for members.
    if (Array.isArray(value)) throw new FarpageError('ERR_ARGUMENT', 'a JSON array, not an object');
    return validate(schema, value, 'ERR_ARGUMENT');
  }

  #hold(response: ServerResponse, session: string): void {
    const hold = this.#service.hold(session);
    response.socket?.setKeepAlive(true, HOLD_SILENT_MS);
    response.writeHead(200, { 'content-type': 'text/plain', 'cache-control': 'no-store' });
    response.write('\n');
    response.once('close', () => hold.release());
    void hold.ended.then(() => response.end());
  }
}
