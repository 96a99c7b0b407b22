/** Regions whose pages a function supplies, and perhaps takes: what a callback store asks for. */
import { FarpageError, isErrorCode } from '../errors.js';
import type { PageRequest, PageSource, RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';

/** A range of the region in bytes: whole pages, but for its end; 1 MiB at most. */
export interface PageSpan {
  readonly offset: number;
  readonly length: number;
}

/**
 * Where the pages of a region come from, and perhaps go to. `signal` is aborted when nobody waits
 * for the answer any more: at the deadline, and when the region goes. A call that does not end then
 * keeps its place among `concurrency`. A FarpageError keeps its code, anything else is ERR_IO.
 */
export interface RegionSource {
  /**
   * Supplies pages: `into` has room for them, is zero, and may be kept or written to afterwards
   * without any effect. They are the region's once the promise is fulfilled. Who calls `alive`
   * whenever bytes have come may take longer than `timeoutMs` for what is read in the background.
   */
  readonly fill: (
    pages: PageSpan,
    into: Uint8Array,
    signal: AbortSignal,
    alive: () => void,
  ) => Promise<void>;
  /**
   * Takes dirty pages: once the promise is fulfilled they are safe, as after fdatasync(2); when it
   * is rejected they stay dirty and the sync fails. `from` is a copy. Never two calls at once with
   * the same page. Without it the region is read-only and has no sync.
   */
  readonly writeBack?: (pages: PageSpan, from: Uint8Array, signal: AbortSignal) => Promise<void>;
  /** How long an operation waits for a call; 5 s. */
  readonly timeoutMs?: number;
  /** Calls of `fill` under way at most, 1 to 64, and as many of `writeBack`; 16. */
  readonly concurrency?: number;
}

const TIMEOUT_MS = 5000;
const TIMEOUT_MS_MAX = 3_600_000;
/** The same of the native side: a read in the background takes so many timeouts at most. */
const TIMEOUTS_MAX = 60;
const CONCURRENCY = 16;
const CONCURRENCY_MAX = 64;

function within(name: string, value: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= 1 && value <= max) return value;
  throw new FarpageError('ERR_ARGUMENT', `${name} must be 1 to ${max}, not ${value}`);
}

/** Programs throw anything, also what has no string: that is no reason to end with them. */
function failureOf(error: unknown): FarpageError {
  try {
    if (error instanceof FarpageError && isErrorCode(error.code)) return error;
    const reason = error instanceof Error ? error.message : String(error);
    return new FarpageError('ERR_IO', reason, { cause: error });
  } catch {
    return new FarpageError('ERR_IO', 'the source failed with something that has no text');
  }
}

/** Answers the requests of one open region by calling a source's functions. */
export class PageCallbacks {
  readonly #source: RegionSource;
  readonly #timeoutMs: number;
  readonly #concurrency: number;
  readonly #onClose: () => void;
  readonly #underWay = new Set<AbortController>();
  #handle: RegionHandle | undefined;
  #failure: FarpageError | undefined;
  #unwritten: FarpageError | undefined;
  #answered = false;
  /** Until when what is read in the background may go on. */
  #aliveUntil = 0;

  /** ERR_ARGUMENT for a source without `fill`, or with bounds that are none. */
  constructor(source: RegionSource, onClose: () => void = () => {}) {
    const given: Partial<RegionSource> = source ?? {};
    const { fill, writeBack, timeoutMs = TIMEOUT_MS, concurrency = CONCURRENCY } = given;
    if (typeof fill !== 'function') throw new FarpageError('ERR_ARGUMENT', 'a source needs fill');
    if (writeBack !== undefined && typeof writeBack !== 'function') {
      throw new FarpageError('ERR_ARGUMENT', 'writeBack is no function');
    }
    this.#source = source;
    this.#onClose = onClose;
    this.#timeoutMs = within('timeoutMs', timeoutMs, TIMEOUT_MS_MAX);
    this.#concurrency = within('concurrency', concurrency, CONCURRENCY_MAX);
  }

  /** Why the last request failed; nothing when it did not. */
  get failure(): FarpageError | undefined {
    return this.#failure;
  }

  /** Why the last `writeBack` failed that did, however many have done well since. */
  get unwritten(): FarpageError | undefined {
    return this.#unwritten;
  }

  /** Whether the last request was answered. */
  get answered(): boolean {
    return this.#answered;
  }

  /** What `regionOpenStaged` of the border takes. */
  pageSource(lengthBytes: number): PageSource {
    return {
      kind: 'callback',
      lengthBytes,
      takesWrites: this.#source.writeBack !== undefined,
      timeoutMs: this.#timeoutMs,
      requestsMax: this.#concurrency,
      ring: () => this.#take(),
    };
  }

  /** From now on requests of this region are answered. */
  begin(handle: RegionHandle): void {
    this.#handle = handle;
  }

  /** Aborts what is under way; nobody waits for it. Idempotent. */
  close(): void {
    this.#handle = undefined;
    for (const abort of this.#underWay) abort.abort(new FarpageError('ERR_REGION_REMOVED'));
    this.#onClose();
  }

  #take(): void {
    if (this.#handle === undefined) return;
    for (const request of native().regionTakeRequests(this.#handle)) {
      void this.#serve(this.#handle, request);
    }
  }

  async #serve(handle: RegionHandle, request: PageRequest): Promise<void> {
    const { id, remainingMs, background } = request;
    const abort = new AbortController();
    const last = performance.now() + TIMEOUTS_MAX * this.#timeoutMs;
    const late = () => {
      const left = Math.min(this.#aliveUntil, last) - performance.now();
      if (background && left > 0) timer = setTimeout(late, left).unref();
      else abort.abort(new FarpageError('ERR_TIMEOUT', 'the source of the pages'));
    };
    let timer = setTimeout(late, remainingMs).unref();
    const alive = () => {
      if (!native().regionTellAlive(handle, id)) return;
      this.#aliveUntil = performance.now() + this.#timeoutMs;
    };
    this.#underWay.add(abort);
    try {
      const bytes = await this.#call(request, abort.signal, alive);
      native().regionAnswerRequest(handle, id, bytes);
      this.#aliveUntil = performance.now() + this.#timeoutMs;
      this.#answered = true;
      this.#failure = undefined;
    } catch (error) {
      this.#answered = false;
      this.#failure = failureOf(error);
      if (request.bytes !== undefined) this.#unwritten = this.#failure;
      native().regionRefuseRequest(handle, id, this.#failure.code);
    } finally {
      clearTimeout(timer);
      this.#underWay.delete(abort);
    }
    this.#take();
  }

  async #call(
    request: PageRequest,
    signal: AbortSignal,
    alive: () => void,
  ): Promise<Uint8Array | undefined> {
    const { offset, length, bytes } = request;
    const { fill, writeBack } = this.#source;
    if (bytes !== undefined) {
      await writeBack?.call(this.#source, { offset, length }, bytes, signal);
      return undefined;
    }
    const into = new Uint8Array(length);
    await fill.call(this.#source, { offset, length }, into, signal, alive);
    if (into.byteLength === length) return into;
    throw new FarpageError('ERR_ARGUMENT', 'the memory to fill was transferred elsewhere');
  }
}
