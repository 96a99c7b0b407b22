/** An iWARP initiator of its own on a plain socket: the second implementation of the wire. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Fpdu, frame, frameLength, OP, parse, readRequest, tagged } from './fpdu.js';
import {
  type MpaReply,
  type MpaRequest,
  mpaReplyLength,
  mpaRequest,
  parseMpaReply,
  SIW_REQUEST,
} from './mpa.js';
import { parseTerminate, type Terminate } from './terminate.js';

/** How long a test waits for bytes that must come. */
const WAIT_MS = 8_000;

export class WirePeer implements Disposable {
  readonly socket: Socket;
  crc = false;
  /** MSN of the next Read or Atomic Request. */
  msn = 1;
  #received = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on('end', end).on('close', end).on('error', end);
  }

  /** Connects without saying anything. */
  static async open(port: number): Promise<WirePeer> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return new WirePeer(socket);
  }

  /** Connects and shakes hands; the reply's C flag decides on sums. */
  static async connect(
    port: number,
    request: MpaRequest = SIW_REQUEST,
  ): Promise<{ peer: WirePeer; reply: MpaReply }> {
    const peer = await WirePeer.open(port);
    peer.send(mpaRequest(request));
    const reply = await peer.reply();
    return { peer, reply };
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes received and not taken. */
  get pending(): number {
    return this.#received.length;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** One byte per segment. */
  async sendSplit(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      this.socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Frames and sends a ULPDU. */
  post(ulpdu: Uint8Array): void {
    this.send(frame(ulpdu, this.crc));
  }

  async reply(): Promise<MpaReply> {
    const reply = parseMpaReply(await this.#take(mpaReplyLength));
    this.crc = reply.crc;
    return reply;
  }

  /** The next FPDU. */
  async next(): Promise<Fpdu> {
    return parse(await this.#take(frameLength), this.crc);
  }

  /** The next FPDU, which must be a Terminate, and the end of the stream behind it. */
  async terminate(): Promise<Terminate> {
    const terminate = parseTerminate(await this.next());
    await this.end();
    return terminate;
  }

  /** Waits for the end of the stream, and that nothing comes before it. */
  async end(): Promise<void> {
    await this.#until(() => this.#ended || this.#received.length > 0);
    if (this.#received.length > 0) throw new Error(`${this.#received.toString('hex')} and no end`);
  }

  /** Posts a READ and puts its response together, however it is cut. */
  async read(options: { stag: number; to: bigint | number; size: number }): Promise<Buffer> {
    const sink = { sinkStag: 0x5117c000 + this.msn, sinkTo: 0x7f00_0000_1000n };
    this.post(readRequest(this.msn++, { ...sink, ...options }));
    return await this.response({ ...sink, size: options.size });
  }

  /** Collects one Read Response; throws when a segment lies elsewhere than it must. */
  async response(sink: { sinkStag: number; sinkTo: bigint; size: number }): Promise<Buffer> {
    const parts: Buffer[] = [];
    let at = 0;
    for (;;) {
      const { op, stag, to, payload, last, bytes } = await this.next();
      if (op !== OP.readResponse) throw new Error(`opcode ${op}: ${bytes.toString('hex')}`);
      if (stag !== sink.sinkStag || to !== sink.sinkTo + BigInt(at)) throw new Error('its place');
      parts.push(payload);
      at += payload.length;
      if (last) break;
    }
    if (at !== sink.size) throw new Error(`${at} bytes instead of ${sink.size}`);
    return Buffer.concat(parts);
  }

  /** Posts a WRITE in segments of `segmentBytes`. */
  write(options: {
    stag: number;
    to: bigint | number;
    payload: Uint8Array;
    segmentBytes?: number;
  }): void {
    const { stag, to, payload, segmentBytes = 1446 } = options;
    let at = 0;
    do {
      const piece = payload.subarray(at, at + segmentBytes);
      const last = at + piece.length === payload.length;
      this.post(tagged({ op: OP.write, stag, to: BigInt(to) + BigInt(at), payload: piece, last }));
      at += piece.length;
    } while (at < payload.length);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  async #take(lengthOf: (bytes: Buffer) => number | undefined): Promise<Buffer> {
    const ready = () => this.#received.length >= (lengthOf(this.#received) ?? Infinity);
    await this.#until(() => ready() || this.#ended);
    if (!ready()) throw new Error(`ended with ${this.#received.toString('hex') || 'nothing'}`);
    const length = lengthOf(this.#received) ?? 0;
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  async #until(done: () => boolean): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!done()) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`nothing for ${WAIT_MS} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
