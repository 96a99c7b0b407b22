/** `farpage_bench`, the program that measures: run to its end, or left running as a server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { FarpageError } from '../../errors.js';
import { packagePath } from '../../native/package-path.js';

/** No single run takes longer; what does hangs. */
const RUN_MS_MAX = 300_000;

export type Words = Readonly<Record<string, string | number>>;
/** A line of its output. */
export type Line = Readonly<Record<string, string | number | boolean | null>>;

function toolPath(): string {
  const tree = process.env.FARPAGE_TREE ?? 'release';
  const folder = tree === 'release' ? 'build/Release' : `.build/${tree}/build/Release`;
  const path = packagePath(`${folder}/farpage_bench`);
  if (existsSync(path)) return path;
  throw new FarpageError('ERR_NATIVE_MISSING', `${path} is missing: npm run build:native`);
}

function start(command: string, words: Words, signal: AbortSignal): ChildProcess {
  const options = Object.entries(words).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return spawn(toolPath(), [command, ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  });
}

/** Runs one command; its lines. ERR_INTERNAL with its own words where it fails. */
export async function runTool(
  command: string,
  words: Words,
  signal: AbortSignal,
): Promise<readonly Line[]> {
  const child = start(command, words, AbortSignal.any([signal, AbortSignal.timeout(RUN_MS_MAX)]));
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new FarpageError('ERR_INTERNAL', 'no pipes');
  const [out, err, [code]] = await Promise.all([text(stdout), text(stderr), once(child, 'close')]);
  if (code !== 0) throw new FarpageError('ERR_INTERNAL', `${command}: ${err.trim() || code}`);
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** The figure `name` of a line. */
export function figure(line: Line | undefined, name: string): number {
  const value = line?.[name];
  if (typeof value === 'number') return value;
  throw new FarpageError('ERR_INTERNAL', `farpage_bench told no ${name}`);
}

/** A raw server, until disposed; it ends with this process at the latest. */
export class RawServer implements Disposable {
  /** What `client --connect` takes. */
  readonly address: string;
  readonly #child: ChildProcess;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.#child = child;
  }

  static async start(words: Words, signal: AbortSignal): Promise<RawServer> {
    const child = start('serve', { ...words, 'end-with-parent': 1 }, signal);
    child.on('error', () => {}); // It was aborted: whoever waits for it hears of that.
    if (child.stdout !== null) {
      for await (const line of createInterface({ input: child.stdout })) {
        return new RawServer(String((JSON.parse(line) as Line).listening), child);
      }
    }
    throw new FarpageError('ERR_INTERNAL', 'the raw server did not start');
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
