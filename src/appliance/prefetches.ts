/** The prefetches of one region: those under way and the last that ended. */
import { setTimeout } from 'node:timers/promises';
import type { PrefetchReply } from '../control/schema.js';
import { FarpageError, isErrorCode } from '../errors.js';
import type { NativeBinding, RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import type { PrefetchFigures, PrefetchHandle } from '../native/prefetch.js';

/** Prefetches of one region under way at once, at most. */
const RUNNING_MAX = 16;
/** How long a cancel waits for their ends: for the disk that keeps what came, and for no source. */
const CANCEL_MS = 10_000;
/** Ended ones that are remembered. */
const ENDED_MAX = 16;

interface Begun {
  /** Of a range, and not of a working set. */
  readonly whole: boolean;
  readonly id: number;
  readonly region: string;
  readonly offset: number;
  readonly length: number;
  readonly startedMs: number;
  readonly handle: PrefetchHandle;
  readonly done: Promise<unknown>;
  cancelled: boolean;
  ended?: { readonly figures: PrefetchFigures; readonly elapsedMs: number };
}

function stateOf({ ended }: Begun): PrefetchReply['state'] {
  if (ended === undefined) return 'running';
  const { code, full } = ended.figures;
  if (code === 'ERR_ABORTED') return 'cancelled';
  if (code !== 'OK') return 'failed';
  return full ? 'partial' : 'done';
}

function replyOf(begun: Begun): PrefetchReply {
  const { id, region, offset, length, ended } = begun;
  const figures = ended?.figures ?? native().prefetchFigures(begun.handle);
  const elapsedMs = ended?.elapsedMs ?? performance.now() - begun.startedMs;
  const state = stateOf(begun);
  const { code } = figures;
  // Who waits for one that somebody else cancels must not take it for done.
  const failed = (state === 'failed' || state === 'cancelled') && isErrorCode(code);
  const come = `${region}, ${figures.passedPages} of ${figures.pages} pages are here`;
  return {
    region,
    id,
    offset,
    length,
    state,
    pages: { total: figures.pages, passed: figures.passedPages, filled: figures.filledPages },
    elapsedMs: Math.round(elapsedMs * 1e3) / 1e3,
    ...(failed && { error: { code, message: new FarpageError(code, come).message } }),
  };
}

export class Prefetches {
  readonly #region: string;
  #begun: Begun[] = [];
  #last = 0;

  constructor(region: string) {
    this.#region = region;
  }

  /** Begins one, or joins that of the same range; ERR_QUOTA. */
  begin(handle: RegionHandle, range: { offset: number; lengthBytes: number }): PrefetchReply {
    const { offset, lengthBytes: length } = range;
    const running = this.#running();
    const same = running.find(
      (one) => one.whole && one.offset === offset && one.length === length && !one.cancelled,
    );
    if (same !== undefined) return replyOf(same);
    this.#admit();
    return this.#begin({ offset, length, whole: true }, native().regionPrefetch(handle, range));
  }

  /** The same of a working set of `size` bytes, run by run; joins one that is under way. */
  replay(
    handle: RegionHandle,
    { runs, size }: { runs: Float64Array; size: number },
  ): PrefetchReply {
    const same = this.#running().find((one) => !one.whole && !one.cancelled);
    if (same !== undefined) return replyOf(same);
    this.#admit();
    const begun = native().regionPrefetch(handle, runs);
    return this.#begin({ offset: 0, length: size, whole: false }, begun);
  }

  #admit(): void {
    if (this.#running().length < RUNNING_MAX) return;
    throw new FarpageError('ERR_QUOTA', `${RUNNING_MAX} prefetches of ${this.#region}`);
  }

  #begin(
    range: Pick<Begun, 'offset' | 'length' | 'whole'>,
    { handle, done }: ReturnType<NativeBinding['regionPrefetch']>,
  ): PrefetchReply {
    const startedMs = performance.now();
    const settled = done.then((figures) => {
      begun.ended = { figures, elapsedMs: performance.now() - startedMs };
      this.#tidy();
    });
    const id = ++this.#last;
    const region = this.#region;
    const what = { id, region, ...range, startedMs, cancelled: false };
    const begun: Begun = { ...what, handle, done: settled };
    this.#begun.push(begun);
    return replyOf(begun);
  }

  /** All that are known, the oldest first. */
  list(): PrefetchReply[] {
    return this.#begun.map(replyOf);
  }

  /** Ends those under way, and returns when they have, or after `waitMs`. */
  async cancel(waitMs = CANCEL_MS): Promise<void> {
    const running = this.#running();
    if (running.length === 0) return;
    for (const one of running) {
      one.cancelled = true;
      native().prefetchCancel(one.handle);
    }
    const over = new AbortController();
    const waited = setTimeout(waitMs, undefined, { signal: over.signal }).catch(() => {});
    await Promise.race([Promise.all(running.map(({ done }) => done)), waited]);
    over.abort();
  }

  #running(): Begun[] {
    return this.#begun.filter(({ ended }) => ended === undefined);
  }

  #tidy(): void {
    const ended = this.#begun.filter((one) => one.ended !== undefined);
    const old = new Set(ended.slice(0, Math.max(ended.length - ENDED_MAX, 0)));
    this.#begun = this.#begun.filter((one) => !old.has(one));
  }
}
