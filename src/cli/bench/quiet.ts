/** Waiting for the machine's other users: a round among them tells more of them than of us. */
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** How long the cores are watched, and what of them others may use in that time. */
const WATCH_MS = 60;
const BUSY_SHARE_MAX = 0.1;

interface Ticks {
  readonly busy: number;
  readonly all: number;
}

/** Ticks of all cores so far; fields 4 and 5 of /proc/stat's first line are idle (proc(5)). */
function ticks(): Ticks {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const counts = line.split(/\s+/).slice(1).map(Number);
  const all = counts.reduce((sum, count) => sum + count, 0);
  return { busy: all - (counts[3] ?? 0) - (counts[4] ?? 0), all };
}

export class QuietGate {
  #leftMs: number;

  /** Waits for `budgetMs` altogether, and then no more. */
  constructor(budgetMs: number) {
    this.#leftMs = budgetMs;
  }

  /** Returns once the machine is quiet, or the budget used up. */
  async pass(signal: AbortSignal): Promise<void> {
    while (this.#leftMs > 0) {
      const began = performance.now();
      const before = ticks();
      await setTimeout(WATCH_MS, undefined, { signal });
      const after = ticks();
      this.#leftMs -= performance.now() - began;
      const share = (after.busy - before.busy) / Math.max(after.all - before.all, 1);
      if (share <= BUSY_SHARE_MAX) return;
    }
  }
}
