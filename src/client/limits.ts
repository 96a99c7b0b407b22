/** Bounds of a wait: the caller's signal and deadline around something that several share. */
import { checkOptions, checkWait, WAIT_KEYS } from '../control/given-options.js';
import { TIMEOUT_MS, timerOf } from '../control/http-client.js';
import { FarpageError } from '../errors.js';
import { checkTimeout } from '../fabric/queue-pair-requests.js';

/** How long to wait, at most 10 s by default; the signal ends it earlier. */
export interface Limits {
  /** Ends the wait with ERR_ABORTED; what was sent may be done all the same. */
  readonly signal?: AbortSignal;
  /** ERR_TIMEOUT after so many milliseconds; 0 for no bound. */
  readonly timeoutMs?: number;
}

export const NO_LIMITS: Limits = Object.freeze({});

/** What a caller gave as limits; ERR_ARGUMENT for what is none. */
export function givenLimits(limits: Limits): Limits {
  if (limits === NO_LIMITS) return limits; // As in most operations, which are many.
  checkOptions('limits', limits, WAIT_KEYS);
  checkWait(limits);
  return limits;
}

/** The limits among options that have others beside them, by these names. ERR_ARGUMENT. */
export function limitsAmong(options: Limits, others: readonly string[]): Limits {
  checkOptions('options', options, [...others, ...WAIT_KEYS]);
  const { signal, timeoutMs } = options;
  const limits = {
    ...(signal !== undefined && { signal }),
    ...(timeoutMs !== undefined && { timeoutMs }),
  };
  checkWait(limits);
  return limits;
}

/**
 * When a wait that begins now ends, in milliseconds of `performance.now()`; 0 means no bound.
 * ERR_ARGUMENT for what is no time.
 */
export function deadlineOf(limits: Limits): number {
  const timeoutMs = checkTimeout(limits.timeoutMs ?? TIMEOUT_MS);
  return performance.now() + (timeoutMs === 0 ? Number.POSITIVE_INFINITY : timeoutMs);
}

/** What of the limits is left until `deadline`; ERR_TIMEOUT when it has passed. */
export function remaining(limits: Limits, deadline: number): Limits {
  if (deadline === Number.POSITIVE_INFINITY) return limits;
  const timeoutMs = Math.ceil(deadline - performance.now());
  if (timeoutMs <= 0) throw new FarpageError('ERR_TIMEOUT');
  return { ...limits, timeoutMs };
}

/** Waits for shared work within the caller's limits; the work itself goes on. */
export function within<T>(work: Promise<T>, limits: Limits): Promise<T> {
  const { signal, timeoutMs = TIMEOUT_MS } = limits;
  return new Promise((resolve, reject) => {
    const abort = () => end(new FarpageError('ERR_ABORTED', '', { cause: signal?.reason }));
    const late = () => end(new FarpageError('ERR_TIMEOUT', `no answer in ${timeoutMs} ms`));
    const timer = timerOf(timeoutMs, late);
    const end = (error: unknown) => {
      clear();
      reject(error);
    };
    const clear = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    // First of all: what nobody hears of would end the program.
    work.then((value) => {
      clear();
      resolve(value);
    }, end);
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** Lets `milliseconds` pass. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
