/** One operation of a queue pair, from its call until nothing of it is left. */
import { setMaxListeners } from 'node:events';
import { OPCODE } from '../native/binding.js';

/** The native opcodes. */
export type Kind = (typeof OPCODE)[keyof typeof OPCODE];

/** What an operation ends with: READs their bytes, atomics the value before. */
export type Value = Uint8Array | bigint | undefined;

/** Its fields are the engine's; a call fills in what it asks for before it hands it over. */
export class Operation {
  readonly kind: Kind;
  readonly stag: number;
  readonly offset: number;
  readonly length: number;
  /** Where a READ lands, or what a WRITE sends; without it a READ makes its own. */
  memory: Uint8Array | undefined = undefined;
  first = 0n;
  second = 0n;
  timeoutMs = 0;
  /** Milliseconds of `performance.now()`; 0 until the deadlines are first looked at. */
  deadline = 0;

  /** Absent for synchronous calls, which look at `settled`, `value` and `failure`. */
  resolve: ((value: Value) => void) | undefined = undefined;
  reject: ((error: Error) => void) | undefined = undefined;
  settled = false;
  value: Value = undefined;
  failure: Error | undefined = undefined;
  /** Undoes what `watch` did. */
  unwatch: (() => void) | undefined = undefined;

  slot = -1;
  block = -1;
  /** WRITE: resolve only once it has been placed, which `fence` tells. */
  fenced = false;
  fence: Operation | undefined = undefined;
  /** The WRITEs that this fence tells of. */
  writes: Operation[] | undefined = undefined;
  /** Fences that were asked for: WRITEs are under way whose placing it would tell. */
  covers = false;
  /** WRITEs and fences: the native side has completed it, and how. */
  completed = false;
  lost: Error | undefined = undefined;

  constructor(kind: Kind, stag: number, offset: number, length: number) {
    this.kind = kind;
    this.stag = stag;
    this.offset = offset;
    this.length = length;
  }

  /** A READ of nothing: it ends once every WRITE before it has been placed. */
  static fence(): Operation {
    const fence = new Operation(OPCODE.read, 0, 0, 0);
    fence.writes = [];
    return fence;
  }

  /** False when the caller's memory was detached (or shrunk) since the call. */
  hasMemory(): boolean {
    return this.memory === undefined || this.memory.byteLength === this.length;
  }

  /** Ends it well. Only the first end counts. */
  succeed(value: Value): void {
    if (this.settled) return;
    this.settled = true;
    this.unwatch?.();
    this.value = value;
    this.resolve?.(value);
  }

  /** Ends it with an error. */
  fail(error: Error): void {
    if (this.settled) return;
    this.settled = true;
    this.unwatch?.();
    this.failure = error;
    this.reject?.(error);
  }

  /** Calls `onAbort` once the signal aborts, until the operation ends. */
  watch(signal: AbortSignal, onAbort: () => void): void {
    // As many operations as there are may share one: that is no leak.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', onAbort, { once: true });
    this.unwatch = () => signal.removeEventListener('abort', onAbort);
  }
}
