/** The process that had the state directory before: did it end well, and is it gone. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a killed process's last requests to a device are waited for. */
const GONE_MS_MAX = 5000;
const LOOK_MS = 5;

/** State and start time of a thread or process: fields 3 and 22 of proc_pid_stat(5). */
function statOf(path: string): { state: string; started: string } | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? 'X', started: fields[19] ?? '' };
  } catch {
    return undefined; // It is gone.
  }
}

/** Whether some thread of the process still runs, or waits for a device with its locks held. */
function lives(pid: number, started: string): boolean {
  const folder = `/proc/${pid}`;
  if (statOf(join(folder, 'stat'))?.started !== started) return false;
  try {
    return readdirSync(join(folder, 'task')).some((thread) => {
      const state = statOf(join(folder, 'task', thread, 'stat'))?.state ?? 'X';
      return state !== 'Z' && state !== 'X';
    });
  } catch {
    return false;
  }
}

export class Predecessor {
  readonly #path: string;
  /** Somebody was here and did not end well. */
  readonly unclean: boolean;

  private constructor(path: string, unclean: boolean) {
    this.#path = path;
    this.unclean = unclean;
  }

  /**
   * Looks for the mark of a process that did not remove it, and waits (5 s at most) until that
   * process is gone: its requests in flight keep its file locks. Then leaves this one's mark.
   */
  static async await(stateDirectory: string, goneMsMax = GONE_MS_MAX): Promise<Predecessor> {
    const path = join(stateDirectory, 'running');
    let found: string | undefined;
    try {
      found = readFileSync(path, 'utf8');
    } catch {
      found = undefined; // None, or one that a later start shall not stumble over.
    }
    const [pid = 0, started = ''] = found?.trim().split(' ') ?? [];
    const until = performance.now() + goneMsMax;
    while (Number(pid) !== process.pid && lives(Number(pid), started)) {
      if (performance.now() > until) break;
      await sleep(LOOK_MS);
    }
    const own = statOf('/proc/self/stat')?.started ?? '';
    writeFileSync(path, `${process.pid} ${own}\n`, { mode: 0o600 });
    return new Predecessor(path, found !== undefined);
  }

  /** Takes the mark away: everything was closed. */
  end(): void {
    rmSync(this.#path, { force: true });
  }
}
