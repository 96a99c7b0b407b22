/** The queue pair that clients use: one-sided operations on memory behind an STag. */
import { ERROR_TEXT, type ErrorCode, FabricError, FarpageError } from '../errors.js';
import { native } from '../native/load.js';
import { Operation, type Value } from './operation.js';
import { QueuePairEngine } from './queue-pair-engine.js';
import type {
  Blocking,
  CompareSwapRequest,
  FetchAddRequest,
  Limits,
  ReadIntoRequest,
  ReadRequest,
  WriteRequest,
} from './queue-pair-requests.js';
import {
  checkTimeout,
  makeCompareSwap,
  makeFetchAdd,
  makeRead,
  makeReadInto,
  makeWrite,
} from './queue-pair-requests.js';

/** READs and atomics outstanding that are asked for; the responder may grant fewer. */
const DEPTH = 128;
const CONNECT_TIMEOUT_MS = 10_000;
const OPERATION_TIMEOUT_MS = 10_000;
/**
 * How long a batch polls for its answers before the event loop takes over: longer than it takes to
 * wake a sleeping responder (about 50), or two sleepy ends would never find back to polling.
 */
const SPIN_US = 100;

/** Where a queue pair leads, and how it works; only the address is needed. */
export interface QueuePairOptions {
  /** Exactly one of `path` (a Unix socket) and `host` with `port`. */
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  /** The session's 16-byte ticket; absent for ports of `farpage export`. */
  readonly ticket?: Uint8Array;
  /** CRC32C on every FPDU. Default: false. */
  readonly crc?: boolean;
  /** READs and atomics outstanding, 1..128. Default: 128. */
  readonly depth?: number;
  /** Microseconds that a batch polls for its answers while that pays; 0 never. Default: 100. */
  readonly spinUs?: number;
  /** Bound on connecting, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** Bound on each operation that names none, in milliseconds; 0 for none. Default: 10,000. */
  readonly timeoutMs?: number;
}

/** READs and atomics that a connection may ask for, and how long it may poll at most. */
const DEPTH_MAX = 128;
const SPIN_US_MAX = 1_000_000;

const TICKET_BYTES = 16;

/** ERR_ARGUMENT for what is no address, or no ticket. */
function checkDoor({ path, host, port, ticket }: QueuePairOptions): void {
  const one = path === undefined ? host !== undefined && port !== undefined : host === undefined;
  if (!one) throw new FarpageError('ERR_ARGUMENT', 'a queue pair needs path, or host and port');
  if (ticket === undefined) return;
  if (ticket instanceof Uint8Array && ticket.byteLength === TICKET_BYTES) return;
  throw new FarpageError('ERR_ARGUMENT', `ticket: a Uint8Array of ${TICKET_BYTES} bytes`);
}

/** ERR_ARGUMENT for a depth, a time or a switch that no queue pair has. */
export function checkQueuePair(options: Pick<QueuePairOptions, 'crc' | 'depth' | 'spinUs'>): void {
  const { crc = false, depth = DEPTH, spinUs = SPIN_US } = options;
  const refuse = (what: string, given: unknown) => {
    throw new FarpageError('ERR_ARGUMENT', `${what}, not ${String(given)}`);
  };
  if (typeof crc !== 'boolean') refuse('crc: true or false', crc);
  if (!Number.isInteger(depth) || depth < 1 || depth > DEPTH_MAX) {
    refuse(`depth: a whole number from 1 to ${DEPTH_MAX}`, depth);
  }
  if (!Number.isInteger(spinUs) || spinUs < 0 || spinUs > SPIN_US_MAX) {
    refuse(`spinUs: a whole number from 0 to ${SPIN_US_MAX}`, spinUs);
  }
}

const OF_A_PLACE: readonly ErrorCode[] = [
  'ERR_CONNECTION',
  'ERR_TIMEOUT',
  'ERR_PROTOCOL',
  'ERR_TICKET',
  'ERR_QUOTA',
];

/** A failure to connect, with where that was; what the system said names no address. */
function failureAt({ path, host, port }: QueuePairOptions, cause: unknown): unknown {
  const known = cause instanceof FarpageError && !(cause instanceof FabricError);
  if (!known || !OF_A_PLACE.includes(cause.code)) return cause;
  const sentence = ERROR_TEXT[cause.code];
  const said = cause.message.slice(sentence.length + 2);
  const where = path ?? `${host}:${port}`;
  return new FarpageError(cause.code, said === '' ? where : `${where}: ${said}`, { cause });
}

/**
 * One connection to a responder. Operations end with ERR_STAG, ERR_BOUNDS, ERR_ACCESS,
 * ERR_PAGE_LOST and the like when the responder refuses them, which also ends the connection: then
 * READs and what was never sent end with ERR_CONNECTION and may be repeated on another queue pair,
 * WRITEs and atomics with ERR_OUTCOME_UNKNOWN. ERR_TIMEOUT, ERR_ABORTED and ERR_CLOSED end the wait
 * alone; ERR_ARGUMENT and ERR_ALIGNMENT are for what cannot be asked, ERR_QUOTA for too much of it.
 */
export class QueuePair implements AsyncDisposable {
  readonly #engine: QueuePairEngine;
  readonly #timeoutMs: number;
  /** What the responder granted. */
  readonly depth: number;

  private constructor(engine: QueuePairEngine, depth: number, timeoutMs: number) {
    this.#engine = engine;
    this.depth = depth;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Connects and shakes hands. ERR_ARGUMENT, ERR_CONNECTION, ERR_TIMEOUT, ERR_SOCKET_PATH,
   * ERR_TICKET, ERR_QUOTA, ERR_PROTOCOL.
   */
  static async connect(options: QueuePairOptions): Promise<QueuePair> {
    checkQueuePair(options);
    checkDoor(options);
    const { spinUs = SPIN_US, connectTimeoutMs, timeoutMs, crc, depth, ...address } = options;
    let engine: QueuePairEngine | undefined;
    const connecting = native().queuePairConnect(
      {
        ...address,
        crc: crc ?? false,
        depth: depth ?? DEPTH,
        timeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      },
      (completions) => engine?.take(completions),
    );
    const connected = await connecting.catch((cause: unknown) => {
      throw failureAt(address, cause);
    });
    engine = new QueuePairEngine(native(), connected, spinUs);
    return new QueuePair(engine, connected.depth, timeoutMs ?? OPERATION_TIMEOUT_MS);
  }

  /** The connection is gone; what is posted fails at once. */
  get ended(): boolean {
    return this.#engine.ended;
  }

  /** Operations without an end yet. */
  get inFlight(): number {
    return this.#engine.inFlight;
  }

  /** Reads into memory of its own; small results share an ArrayBuffer, like Node's Buffers. */
  read(request: ReadRequest): Promise<Uint8Array> {
    return this.#start(makeRead, request);
  }

  /**
   * Reads into the caller's memory and resolves with it. Over 16 KiB without a copy: the memory may
   * then change until the operation has completed, even after a timeout or an abort, and its
   * ArrayBuffer can no longer be transferred by postMessage. Do not `transfer()` it meanwhile.
   */
  readInto(request: ReadIntoRequest): Promise<Uint8Array> {
    return this.#start(makeReadInto, request);
  }

  /** Writes; resolves once the bytes have been placed, unless `fenced` is false. */
  write(request: WriteRequest): Promise<void> {
    return this.#start(makeWrite, request);
  }

  /**
   * Resolves once every WRITE posted before has been placed. When the connection ends before:
   * ERR_OUTCOME_UNKNOWN where there was one under way, else ERR_CONNECTION.
   */
  fence(limits: Limits = {}): Promise<void> {
    return this.#start(Operation.fence, limits);
  }

  /** Adds to the 8-byte word in its host's byte order; resolves with the value before. */
  fetchAdd(request: FetchAddRequest): Promise<bigint> {
    return this.#start(makeFetchAdd, request);
  }

  /** Stores `desired` where the word is `expected`; resolves with the value before. */
  compareSwap(request: CompareSwapRequest): Promise<bigint> {
    return this.#start(makeCompareSwap, request);
  }

  /** As `read`, blocking the thread. */
  readSync(request: Blocking<ReadRequest>): Uint8Array {
    return this.#run(makeRead(request), request) as Uint8Array;
  }

  /** As `readInto`, blocking the thread. */
  readIntoSync(request: Blocking<ReadIntoRequest>): Uint8Array {
    return this.#run(makeReadInto(request), request) as Uint8Array;
  }

  /** As `write`, blocking the thread. */
  writeSync(request: Blocking<WriteRequest>): void {
    this.#run(makeWrite(request), request);
  }

  /** As `fetchAdd`, blocking the thread. */
  fetchAddSync(request: Blocking<FetchAddRequest>): bigint {
    return this.#run(makeFetchAdd(request), request) as bigint;
  }

  /** As `compareSwap`, blocking the thread. */
  compareSwapSync(request: Blocking<CompareSwapRequest>): bigint {
    return this.#run(makeCompareSwap(request), request) as bigint;
  }

  /** Ends READs in flight with ERR_CLOSED, WRITEs and atomics with ERR_OUTCOME_UNKNOWN. */
  close(): void {
    this.#engine.close();
  }

  /**
   * The same for a connection that was lost: what was never sent, and READs, end with
   * ERR_CONNECTION and may be repeated on another one.
   */
  abandon(): void {
    this.#engine.abandon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #start<R extends Limits, T>(make: (request: R) => Operation, request: R): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const { signal, timeoutMs } = request;
      const operation = make(request);
      operation.timeoutMs = checkTimeout(timeoutMs ?? this.#timeoutMs);
      operation.resolve = resolve as (value: Value) => void;
      operation.reject = reject;
      if (signal !== undefined) {
        const abort = () => {
          operation.fail(new FarpageError('ERR_ABORTED', '', { cause: signal.reason }));
        };
        if (signal.aborted) return abort();
        operation.watch(signal, abort);
      }
      this.#engine.start(operation);
    });
  }

  #run(operation: Operation, { timeoutMs }: Limits): Value {
    operation.timeoutMs = checkTimeout(timeoutMs ?? this.#timeoutMs);
    this.#engine.run(operation);
    if (operation.failure !== undefined) throw operation.failure;
    return operation.value;
  }
}
