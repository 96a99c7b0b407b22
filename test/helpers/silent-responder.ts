/** A responder that shakes hands and then does what the test says, usually nothing. */
import { createServer, type Server, type Socket } from 'node:net';

const REQUEST_BYTES = 20;

export class SilentResponder implements AsyncDisposable {
  readonly port: number;
  /** Sockets that have sent their MPA request. */
  readonly sockets: Socket[];
  readonly #server: Server;

  private constructor(server: Server, sockets: Socket[]) {
    this.#server = server;
    this.sockets = sockets;
    this.port = (server.address() as { port: number }).port;
  }

  /** `reply` false leaves even the MPA request without an answer. */
  static async listen(reply = true): Promise<SilentResponder> {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (request) => {
        sockets.push(socket);
        if (!reply) return;
        // The request's enhanced words mirrored, IRD and ORD exchanged, no private data.
        const answer = Buffer.alloc(REQUEST_BYTES + 4);
        answer.write('MPA ID Rep Frame', 0, 'latin1');
        answer.writeUInt8(request.readUInt8(16), 16);
        answer.writeUInt8(2, 17);
        answer.writeUInt16BE(4, 18);
        answer.writeUInt16BE(request.readUInt16BE(22) & 0x3fff, 20);
        socket.write(answer);
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    return new SilentResponder(server, sockets);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}
