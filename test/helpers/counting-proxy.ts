/** Stands between a client and the TCP doors of an appliance and counts what passes. */
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  request,
  type ServerResponse,
} from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Doors {
  readonly control: Endpoint;
  readonly fabric: Endpoint;
  /** How long a connection to the fabric takes. */
  readonly fabricDelayMs?: number;
}

function portOf(server: Server | HttpServer): number {
  return (server.address() as { port: number }).port;
}

export class CountingProxy {
  /** Requests to the control plane, and bytes on the fabric in both directions. */
  requests = 0;
  fabricBytes = 0;
  /** Requests for another ticket than the one that came with a session. */
  tickets = 0;
  /** What becomes of the appliance's answers, as of one that a peer elsewhere would give. */
  alter: (body: string) => string = (body) => body;
  /** The sessions that requests were of. */
  readonly sessions = new Set<string>();
  readonly #sockets = new Set<Socket>();
  readonly #held = new Set<ServerResponse>();
  readonly #fabric: Server;
  readonly #control: HttpServer;

  private constructor(doors: Doors) {
    this.#fabric = createServer(async (near) => {
      await sleep(doors.fabricDelayMs ?? 0);
      const far = connect(doors.fabric);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes: Buffer) => {
          this.fabricBytes += bytes.length;
        });
        from.on('error', () => to.destroy()).on('close', () => to.destroy());
        from.pipe(to);
      }
    });
    this.#control = createHttpServer((near, answer) => {
      this.requests += 1;
      const { method, url, headers } = near;
      const [, session] = /^\/v1\/sessions\/([0-9a-f]{32})/.exec(url ?? '') ?? [];
      if (session !== undefined) this.sessions.add(session);
      if (url?.endsWith('/tickets')) this.tickets += 1;
      const far = request({ ...doors.control, method, path: url, headers }, (reply) => {
        const parts: Buffer[] = [];
        // A reply that stays open is passed on as it comes, all others once they are whole.
        const held = reply.headers['content-length'] === undefined;
        if (held) {
          answer.writeHead(reply.statusCode ?? 500, reply.headers);
          this.#held.add(answer);
          answer.once('close', () => this.#held.delete(answer));
        }
        reply.on('data', (bytes: Buffer) => (held ? answer.write(bytes) : parts.push(bytes)));
        reply.on('end', () => {
          if (held) return answer.end();
          const text = this.alter(Buffer.concat(parts).toString());
          const body = text.replace(
            `"port":${doors.fabric.port}`,
            `"port":${portOf(this.#fabric)}`,
          );
          const length = { 'content-length': Buffer.byteLength(body) };
          return answer
            .writeHead(reply.statusCode ?? 500, { ...reply.headers, ...length })
            .end(body);
        });
      });
      far.on('error', () => answer.destroy());
      answer.on('close', () => far.destroy());
      near.pipe(far);
    });
  }

  /** Starts it; it ends with the test. */
  static async start(doors: Doors): Promise<CountingProxy> {
    const proxy = new CountingProxy(doors);
    for (const server of [proxy.#fabric, proxy.#control]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
    onTestFinished(() => proxy.close());
    return proxy;
  }

  /** What clients connect to. */
  get url(): string {
    return `farpage://127.0.0.1:${portOf(this.#control)}`;
  }

  /** Cuts every fabric connection that stands. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** Replies that stay open now: connections that hold sessions. */
  get holds(): number {
    return this.#held.size;
  }

  /** Ends these as an appliance does when they have stood for long. */
  endHolds(): void {
    for (const answer of this.#held) answer.end();
    this.#held.clear();
  }

  close(): void {
    this.cut();
    this.#fabric.close();
    this.#control.close();
    this.#control.closeAllConnections();
  }
}
