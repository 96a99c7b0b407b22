/** What is asked of a queue pair, and its making into an operation. */
import { FarpageError } from '../errors.js';
import { OPCODE } from '../native/binding.js';
import { type Kind, Operation } from './operation.js';

const LENGTH_MAX = 2 ** 32 - 1;
const STAG_MAX = 2 ** 32 - 1;

/** Where in the remote memory: an STag of `attach` and a zero-based offset in bytes. */
export interface Place {
  readonly stag: number;
  readonly offset: number;
}

/** How long to wait. An operation that ends so may still take effect. */
export interface Limits {
  /** Milliseconds, noticed up to 10 later. Default: the queue pair's. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ReadRequest extends Place, Limits {
  /** 0..2^32-1 bytes. */
  readonly length: number;
}
export interface ReadIntoRequest extends Place, Limits {
  /** Its length is read. Over 16 KiB the bytes land in it directly: see `readInto`. */
  readonly memory: Uint8Array;
}
export interface WriteRequest extends Place, Limits {
  /** Must not change until the promise has settled. */
  readonly bytes: Uint8Array;
  /** False resolves once the bytes are with the kernel, not yet placed. Default: true. */
  readonly fenced?: boolean;
}
export interface FetchAddRequest extends Place, Limits {
  /** Added modulo 2^64. */
  readonly addend: bigint;
}
export interface CompareSwapRequest extends Place, Limits {
  readonly expected: bigint;
  readonly desired: bigint;
}
/** A request of a synchronous call, which blocks the thread: no signal could be seen. */
export type Blocking<T> = Omit<T, 'signal' | 'fenced'>;

function argument(context: string): FarpageError {
  return new FarpageError('ERR_ARGUMENT', context);
}

/** Memory that the native side may hold the address of; ERR_ARGUMENT for other. */
export function checkMemory(memory: Uint8Array, name: string): void {
  if (!(memory instanceof Uint8Array)) {
    const makes = ArrayBuffer.isView(memory)
      ? 'new Uint8Array(it.buffer, it.byteOffset, it.byteLength)'
      : 'Buffer.from(it)';
    throw argument(`${name} is no Uint8Array; perhaps ${makes}`);
  }
  if ((memory.buffer as { resizable?: boolean }).resizable === true) {
    throw argument(`${name} is of a resizable ArrayBuffer`);
  }
}

/** Milliseconds, or 0 for no bound; ERR_ARGUMENT. */
export function checkTimeout(timeoutMs: number): number {
  if (typeof timeoutMs === 'number' && timeoutMs >= 0) return timeoutMs;
  throw argument(`timeoutMs ${String(timeoutMs)} is neither 0 nor above it`);
}

function makeOperation(kind: Kind, { stag, offset }: Place, length: number): Operation {
  if (!Number.isInteger(stag) || stag < 0 || stag > STAG_MAX) throw argument('stag');
  if (!Number.isSafeInteger(offset) || offset < 0) throw argument('offset');
  if (!Number.isInteger(length) || length < 0 || length > LENGTH_MAX) throw argument('length');
  return new Operation(kind, stag, offset, length);
}

export function makeRead(request: ReadRequest): Operation {
  return makeOperation(OPCODE.read, request, request.length);
}

export function makeReadInto(request: ReadIntoRequest): Operation {
  checkMemory(request.memory, 'memory');
  const operation = makeOperation(OPCODE.read, request, request.memory.byteLength);
  operation.memory = request.memory;
  return operation;
}

export function makeWrite(request: WriteRequest): Operation {
  checkMemory(request.bytes, 'bytes');
  const operation = makeOperation(OPCODE.write, request, request.bytes.byteLength);
  operation.memory = request.bytes;
  operation.fenced = request.fenced !== false;
  return operation;
}

function checkOperand(name: string, operand: bigint): void {
  if (typeof operand === 'bigint') return;
  throw argument(`${name}: a bigint such as 1n, not ${String(operand)}`);
}

function makeAtomic(kind: Kind, place: Place, first: bigint, second: bigint): Operation {
  const operation = makeOperation(kind, place, 8);
  if (place.offset % 8 !== 0) {
    throw new FarpageError('ERR_ALIGNMENT', `offset ${place.offset}: atomics need a multiple of 8`);
  }
  operation.first = first;
  operation.second = second;
  return operation;
}

export function makeFetchAdd(request: FetchAddRequest): Operation {
  checkOperand('addend', request.addend);
  return makeAtomic(OPCODE.fetchAdd, request, request.addend, 0n);
}

export function makeCompareSwap(request: CompareSwapRequest): Operation {
  checkOperand('expected', request.expected);
  checkOperand('desired', request.desired);
  return makeAtomic(OPCODE.compareSwap, request, request.expected, request.desired);
}
