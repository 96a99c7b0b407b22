/** What callers of the library pass as options: they are known by name, and of the right type. */
import { FarpageError } from '../errors.js';
import type { WaitOptions } from './http-client.js';

/** ERR_ARGUMENT for what is no object, as null. */
export function checkObject(what: string, given: unknown): asserts given is object {
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return;
  throw new FarpageError('ERR_ARGUMENT', `${what}: an object, not ${nameOf(given)}`);
}

/**
 * ERR_ARGUMENT for what is no object, and for a key that is none of these: who misspells one would
 * get its default without a word.
 */
export function checkOptions(what: string, given: unknown, known: readonly string[]): void {
  checkObject(what, given);
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new FarpageError('ERR_ARGUMENT', `${what} have no ${unknown}, but ${known.join(', ')}`);
}

/** What bounds a wait, by name. */
export const WAIT_KEYS = ['signal', 'timeoutMs'] as const satisfies (keyof WaitOptions)[];

/** ERR_ARGUMENT for a signal that is none, and for what is no time. */
export function checkWait({ signal, timeoutMs }: WaitOptions): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new FarpageError('ERR_ARGUMENT', `signal: an AbortSignal, not ${nameOf(signal)}`);
  }
  if (timeoutMs === undefined || (typeof timeoutMs === 'number' && timeoutMs >= 0)) return;
  throw new FarpageError('ERR_ARGUMENT', `timeoutMs: 0 or more, not ${nameOf(timeoutMs)}`);
}

/** What somebody gave, short enough for a sentence. */
export function nameOf(given: unknown): string {
  if (given === null || given === undefined) return String(given);
  if (typeof given === 'bigint') return `${given}n`;
  if (typeof given === 'object') return Array.isArray(given) ? 'an array' : 'an object';
  return typeof given === 'string' ? JSON.stringify(given.slice(0, 64)) : String(given);
}
