/** A terminal that is drawn on as a whole, and given back as it was however the process ends. */
import { emitKeypressEvents } from 'node:readline';
import ansiEscapes from 'ansi-escapes';
import { createLogUpdate } from 'log-update';

/** Signals that end a process: the terminal is given back, then they do what they do. */
const ENDING = ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

export interface Key {
  readonly name?: string;
  readonly ctrl?: boolean;
  readonly sequence?: string;
}

export interface ScreenOptions {
  readonly out?: NodeJS.WriteStream;
  readonly input?: NodeJS.ReadStream;
  readonly onKey: (key: Key) => void;
  readonly onResize: () => void;
}

/** The screen of a terminal; `input` may be none, and then there are no keys. */
export class Screen implements Disposable {
  readonly #out: NodeJS.WriteStream;
  readonly #input: NodeJS.ReadStream;
  readonly #draw: ReturnType<typeof createLogUpdate>;
  readonly #undo: (() => void)[] = [];

  constructor({ out = process.stdout, input = process.stdin, onKey, onResize }: ScreenOptions) {
    this.#out = out;
    this.#input = input;
    this.#draw = createLogUpdate(out);
    const restore = () => this[Symbol.dispose]();
    process.once('exit', restore);
    this.#undo.push(() => process.off('exit', restore));
    for (const signal of ENDING) {
      const end = () => {
        restore();
        process.kill(process.pid, signal);
      };
      process.once(signal, end);
      this.#undo.push(() => process.off(signal, end));
    }
    out.write(ansiEscapes.enterAlternativeScreen);
    out.on('resize', onResize);
    this.#undo.push(() => {
      out.off('resize', onResize);
      this.#draw.done();
      out.write(ansiEscapes.exitAlternativeScreen);
    });
    if (input.isTTY) this.#listen(onKey);
  }

  get columns(): number {
    return this.#out.columns;
  }

  get rows(): number {
    return this.#out.rows;
  }

  /** Shows these lines in place of all that was there. */
  show(lines: readonly string[]): void {
    // The last row ends without a line feed, which would scroll the first one away.
    this.#draw(lines.slice(0, Math.max(this.rows - 1, 1)).join('\n'));
  }

  /** Forgets what is there: after a resize nobody knows where it went. */
  clear(): void {
    this.#draw.clear();
    this.#out.write(ansiEscapes.clearViewport);
  }

  /** Gives the terminal back. Idempotent. */
  [Symbol.dispose](): void {
    for (const step of this.#undo.splice(0).reverse()) step();
  }

  #listen(onKey: (key: Key) => void): void {
    const input = this.#input;
    const press = (_: string, key: Key) => onKey(key);
    emitKeypressEvents(input);
    input.setRawMode(true);
    input.on('keypress', press);
    input.resume();
    this.#undo.push(() => {
      input.off('keypress', press);
      input.setRawMode(false);
      input.pause();
    });
  }
}
