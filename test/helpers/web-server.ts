/** A small HTTP(S) server of one file, which answers ranges, and badly when a test wants it to. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** What came, and for which bytes. */
export interface Asked {
  readonly url: string;
  readonly range: string | undefined;
  readonly headers: IncomingMessage['headers'];
}

/** Answers instead of the server; false lets the server do it. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

export class WebServer {
  bytes: Buffer;
  /** As the header says it; null sends none. */
  etag: string | null;
  lastModified: string | null = null;
  answer: Answer = () => false;
  /** Headers that are added to every answer with bytes, or replace others. */
  extra: Record<string, string> = {};
  readonly asked: Asked[] = [];
  /** Connections so far. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scheme: string;
  #port = 0;

  private constructor(bytes: Buffer, tls?: { key: string; cert: string }) {
    this.bytes = bytes;
    this.etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
    this.#scheme = tls === undefined ? 'http' : 'https';
    const listener = (request: IncomingMessage, response: ServerResponse) =>
      this.#serve(request, response);
    this.#server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener);
    this.#server.on('connection', (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** Serves `bytes` at every path; ends with the test. */
  static async start(bytes: Buffer, tls?: { key: string; cert: string }): Promise<WebServer> {
    const server = new WebServer(bytes, tls);
    await server.listen();
    onTestFinished(() => server.stop());
    return server;
  }

  get origin(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  url(path = '/files/data.bin'): string {
    return `${this.origin}${path}`;
  }

  /** Listens again, where it listened before. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Breaks every connection and takes no more. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Bytes that answers carried to whoever asked. */
  ranges(): string[] {
    return this.asked.map(({ range }) => range ?? '');
  }

  #isOther({ headers }: IncomingMessage): boolean {
    const { 'if-match': match, 'if-unmodified-since': since } = headers;
    const other = match !== undefined && match !== this.etag;
    return other || (since !== undefined && since !== this.lastModified);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { url = '', headers } = request;
    this.asked.push({ url, range: headers.range, headers });
    response.on('error', () => {});
    if (this.answer(request, response)) return;
    if (this.#isOther(request)) {
      response.writeHead(412).end();
      return;
    }
    this.send(request, response);
  }

  /** The range that was asked for, or `part` of the bytes under its name. */
  send({ headers }: IncomingMessage, response: ServerResponse, part?: Buffer): void {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    const last = Math.min(to === '' ? this.bytes.length - 1 : Number(to), this.bytes.length - 1);
    const body = part ?? this.bytes.subarray(Number(from), last + 1);
    response.writeHead(206, {
      'content-range': `bytes ${from}-${last}/${this.bytes.length}`,
      'content-length': String(body.length),
      ...(this.etag !== null && { etag: this.etag }),
      ...(this.lastModified !== null && { 'last-modified': this.lastModified }),
      ...this.extra,
    });
    response.end(body);
  }
}
