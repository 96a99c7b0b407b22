/** A TCP proxy that keeps what went each way, in the order in which it passed. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Recorded } from '../pcap.js';

export class RecordingProxy implements AsyncDisposable {
  /** One conversation for each connection that was accepted. */
  readonly conversations: Recorded[][] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(targetPort: number) {
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      const server = connect({
        port: targetPort,
        host: '127.0.0.1',
        noDelay: true,
        allowHalfOpen: true,
      });
      const recorded: Recorded[] = [];
      this.conversations.push(recorded);
      this.#forward(client, server, (bytes) =>
        recorded.push({ fromClient: true, bytes, timeMs: performance.now() }),
      );
      this.#forward(server, client, (bytes) =>
        recorded.push({ fromClient: false, bytes, timeMs: performance.now() }),
      );
    });
  }

  /** Listens in front of a port of this machine. */
  static async open(targetPort: number): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(targetPort);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(from: Socket, to: Socket, record: (bytes: Buffer) => void): void {
    this.#sockets.add(from);
    from.on('data', (bytes) => {
      record(bytes);
      to.write(bytes);
    });
    from.on('end', () => to.end());
    from.on('error', () => to.destroy());
    from.on('close', () => this.#sockets.delete(from));
  }
}
