/** A peer in a process of its own that says something and then never stops sending. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Bytes that it keeps under way at least. */
const BURST_BYTES = 1 << 20;

const PROGRAM = `
const [port, prefix, unit] = process.argv.slice(1);
const socket = require('node:net').connect({ port, host: '127.0.0.1', allowHalfOpen: true });
const piece = Buffer.from(unit, 'hex');
const burst = Buffer.concat(Array(Math.ceil(${BURST_BYTES} / piece.length)).fill(piece));
let bytes = 0;
function more() {
  while (socket.write(burst)) bytes += burst.length;
  bytes += burst.length;
}
socket.on('connect', () => socket.write(Buffer.from(prefix, 'hex')));
socket.on('drain', more);
socket.once('data', () => { more(); console.log('flooding'); });
socket.on('data', () => {});
const end = () => { console.log(bytes); process.exit(0); };
socket.on('error', end).on('close', end);
`;

export class Flood implements AsyncDisposable {
  readonly #child: ChildProcess;
  /** Resolves with how much it got rid of once its connection has been ended. */
  readonly ended: Promise<number>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    let told = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      told += text;
    });
    this.ended = once(child, 'close').then(() => Number(told.trim().split('\n').at(-1)));
  }

  /** Sends `prefix`, and once it was answered `unit` again and again. Resolves when it floods. */
  static async start(options: {
    port: number;
    prefix: Uint8Array;
    unit: Uint8Array;
  }): Promise<Flood> {
    const words = [options.prefix, options.unit].map((bytes) => Buffer.from(bytes).toString('hex'));
    const child = spawn(process.execPath, ['-e', PROGRAM, String(options.port), ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const flood = new Flood(child);
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return flood;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
