/** An appliance in a process of its own: `farpage serve --json`, until disposed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { FarpageError } from '../errors.js';

const READY_MS_MAX = 10_000;
const END_MS_MAX = 30_000;

/** What `serve --json` says of itself. */
interface Ready {
  readonly pid: number;
  readonly control: string;
  readonly tcp?: string;
}

export class Serving implements AsyncDisposable {
  /** URL of its control door. */
  readonly url: string;
  /** The same of its TCP door, if it was given one. */
  readonly tcpUrl: string | undefined;
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(ready: Ready, child: ChildProcess) {
    this.url = ready.control;
    this.tcpUrl = ready.tcp;
    this.pid = ready.pid;
    this.#child = child;
  }

  /** Starts it with the arguments of `serve`, and waits until it is ready. */
  static async start(words: readonly string[]): Promise<Serving> {
    const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));
    const child = spawn(process.execPath, [main, 'serve', '--json', ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const late = setTimeout(() => child.kill('SIGKILL'), READY_MS_MAX);
    try {
      for await (const line of createInterface({ input: child.stdout })) {
        return new Serving(JSON.parse(line) as Ready, child);
      }
    } finally {
      clearTimeout(late);
    }
    throw new FarpageError('ERR_NO_APPLIANCE', 'the appliance did not start');
  }

  /** Tells it to end, and waits until everything is synced; its exit code. */
  async end(): Promise<number | null> {
    const { exitCode } = this.#child;
    if (exitCode !== null || this.#child.signalCode !== null) return exitCode;
    const late = setTimeout(() => this.#child.kill('SIGKILL'), END_MS_MAX);
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const [code] = (await exited) as [number | null];
    clearTimeout(late);
    return code;
  }

  /** Kills it, as `kill -9` does, and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
