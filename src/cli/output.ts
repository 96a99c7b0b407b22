/** Where a command writes: results to stdout, everything else to stderr. */
import { writeSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { systemReason } from '../control/system-reason.js';
import { type ErrorCode, FarpageError } from '../errors.js';

interface Stream extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE';
}

export class Output {
  readonly #out: Stream;
  readonly #err: Stream;
  /** Errors as `{"code","message"}`. */
  json = false;
  #closed = false;
  #broken: unknown;

  constructor(options: { out: Stream; err: Stream }) {
    this.#out = options.out;
    this.#err = options.err;
    // Who reads us may have seen enough, as `head` does: that is no failure.
    this.#out.on('error', (error) => {
      this.#closed = true;
      if (!isClosedPipe(error)) this.#broken ??= error;
    });
    this.#err.on('error', () => {}); // Nobody is there to tell it to.
  }

  /** Nobody reads what is written to stdout any more. */
  get closed(): boolean {
    return this.#closed;
  }

  get isTerminal(): boolean {
    return this.#out.isTTY === true;
  }

  /** Progress and hints are shown: stderr is a terminal. */
  get isWatched(): boolean {
    return this.#err.isTTY === true;
  }

  get columns(): number {
    return this.#out.columns ?? 80;
  }

  /** Columns that a line may have: those of a terminal; whoever reads a pipe has no bound. */
  get width(): number {
    return this.isTerminal ? this.columns : Number.POSITIVE_INFINITY;
  }

  line(text: string): void {
    if (!this.#closed) this.#out.write(`${text}\n`);
  }

  /** Waits until stdout has taken everything; ERR_IO when it could not, as on a full device. */
  async flush(): Promise<void> {
    if (!this.#closed) await new Promise((resolve) => this.#out.write('', resolve));
    // A write that fails tells of it a moment later.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#broken === undefined) return;
    const why = `stdout took not all of it: ${systemReason(this.#broken)}`;
    throw new FarpageError('ERR_IO', why, { cause: this.#broken });
  }

  /** One object, on one line. */
  object(value: unknown): void {
    this.line(JSON.stringify(value));
  }

  /** Bytes as they are; settles once they have been handed on and may be reused. */
  async bytes(data: Uint8Array): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => this.#out.write(data, () => resolve()));
  }

  /** One line on stderr. */
  note(text: string): void {
    this.#err.write(`${text}\n`);
  }

  /** One line on stderr about a failure, without a stack. */
  failure(error: unknown): void {
    const code = error instanceof FarpageError ? error.code : 'ERR_INTERNAL';
    const text = (error instanceof Error ? error.message : String(error)).replaceAll('\n', ' ');
    this.#tell(code, text);
  }

  /** The same about a command line that says by itself what is wrong with it. */
  usage(message: string): void {
    this.#tell('ERR_ARGUMENT', message);
  }

  /** The same about a run that somebody interrupted, and that ended well all the same. */
  interrupted(message: string): void {
    this.#tell('ERR_ABORTED', message);
  }

  /** A line on stderr that is out when it returns. */
  now(text: string): void {
    try {
      writeSync(2, `${text}\n`);
    } catch {} // Nobody is there to tell it to.
  }

  #tell(code: ErrorCode, text: string): void {
    this.now(this.json ? JSON.stringify({ code, message: text }) : `farpage: ${text} [${code}]`);
  }
}
