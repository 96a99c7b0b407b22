/** Runs the built command line as a process, as a user does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const RUN_MS_MAX = 25_000;

export interface Run {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: Uint8Array | string;
  readonly env?: NodeJS.ProcessEnv;
  /** Whom to run it as. */
  readonly uid?: number;
}

function environment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { FARPAGE_URL: _, FARPAGE_TOKEN: __, ...rest } = process.env;
  return { ...rest, ...env };
}

/** Runs one command to its end. */
export async function farpage(words: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = spawn(process.execPath, [MAIN, ...words], {
    env: environment(options.env),
    ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
    timeout: RUN_MS_MAX,
    killSignal: 'SIGKILL',
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => err.push(bytes));
  child.stdin.on('error', () => {}); // A command may end before it has read everything.
  child.stdin.end(options.input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() };
}

export interface ServeReady {
  readonly pid: number;
  readonly socket: string;
  readonly control: string;
  readonly tcp?: string;
  readonly fabric: { readonly tcp?: { host: string; port: number }; readonly unix: string };
  readonly tokenPath?: string;
  readonly regions: readonly string[];
  readonly recovered: readonly {
    readonly path: string;
    readonly pages: number;
    readonly failure: string | null;
  }[];
}

/** `farpage serve --json` as a process; killed when the test is over if it still runs. */
export class ServeProcess {
  readonly ready: ServeReady;
  readonly child: ChildProcess;
  readonly folder: string;
  #stderr = '';

  private constructor(options: { ready: ServeReady; child: ChildProcess; folder: string }) {
    this.ready = options.ready;
    this.child = options.child;
    this.folder = options.folder;
    this.child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr += bytes.toString();
    });
  }

  static async start(
    folder: string,
    words: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<ServeProcess> {
    const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    const child = spawn(process.execPath, [MAIN, 'serve', '--json', ...doors, ...words], {
      env: environment(env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exited = once(child, 'exit');
    onTestFinished(async () => {
      child.kill('SIGKILL');
      // Its folder's inode may be given to the next test's: nobody may still hold the lock of it.
      await exited;
    });
    for await (const line of createInterface({ input: child.stdout })) {
      return new ServeProcess({ ready: JSON.parse(line) as ServeReady, child, folder });
    }
    throw new Error(`serve did not start: ${String(child.stderr.read())}`);
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Runs a command against it. */
  async run(words: readonly string[], options: RunOptions = {}): Promise<Run> {
    const env = { FARPAGE_URL: this.ready.control, ...options.env };
    return await farpage(words, { ...options, env });
  }

  /** Runs a command with `--json` that must do well, and returns what it printed. */
  async json<T>(words: readonly string[], options: RunOptions = {}): Promise<T> {
    const run = await this.run([...words, '--json'], options);
    if (run.code !== 0) throw new Error(`${words.join(' ')} ended with ${run.code}: ${run.stderr}`);
    return JSON.parse(run.stdout.toString()) as T;
  }

  /** Sends a signal and waits for the end; the exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const exited = once(this.child, 'close');
    this.child.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  }
}
