/** One-sided operations on a range of a region: what regions and slabs have in common. */
import { nameOf } from '../control/given-options.js';
import { FarpageError } from '../errors.js';
import type { QueuePair } from '../fabric/queue-pair.js';
import { checkMemory } from '../fabric/queue-pair-requests.js';
import type { Attached } from './attached.js';
import { deadlineOf, givenLimits, type Limits, NO_LIMITS, remaining } from './limits.js';
import { named } from './named.js';
import type { FabricLink } from './reconnect.js';

/** One operation of the queue pair moves at most this; longer ones are split. */
export const PIECE_BYTES = 1024 * 1024;
/** Pieces of one call in flight at once. */
const PIECES_IN_FLIGHT = 8;

function newBuffer(length: number): ArrayBufferLike {
  try {
    return Buffer.allocUnsafeSlow(length).buffer;
  } catch (cause) {
    throw new FarpageError('ERR_ARGUMENT', `no Buffer holds ${length} bytes`, { cause });
  }
}

const isOffset = (given: number) => Number.isSafeInteger(given) && given >= 0;

/** A deadline for calls that block the thread: no signal could end them. */
export type BlockingLimits = Pick<Limits, 'timeoutMs'>;

/**
 * A range of external memory. Offsets and lengths are in bytes from its beginning; 64-bit words are
 * in the appliance's byte order. Every call ends: within 10 s, or as `timeoutMs` and `signal` say.
 * Errors: ERR_RANGE beyond the end, ERR_ACCESS, ERR_PAGE_LOST, ERR_MEMORY_FULL, ERR_REGION_REMOVED,
 * ERR_TIMEOUT, ERR_ABORTED, ERR_CONNECTION, ERR_CLOSED, and ERR_OUTCOME_UNKNOWN for writes and
 * atomics whose connection broke before the answer (RFC 5040 section 7).
 */
export class ExternalMemory {
  /** Bytes of the range. */
  readonly size: number;
  /** Where it begins in its region. */
  readonly offset: number;
  readonly #attached: Attached;
  readonly #link: FabricLink;

  constructor(options: { attached: Attached; link: FabricLink; offset: number; size: number }) {
    this.#attached = options.attached;
    this.#link = options.link;
    this.offset = options.offset;
    this.size = options.size;
  }

  protected get attached(): Attached {
    return this.#attached;
  }

  protected get link(): FabricLink {
    return this.#link;
  }

  /** Reads `length` bytes into memory of their own. */
  read(offset: number, length: number, limits: Limits = NO_LIMITS): Promise<Uint8Array> {
    if (length > PIECE_BYTES) return this.#readLong(offset, length, limits);
    return this.#run(offset, length, limits, (pair) =>
      pair.read({ ...limits, stag: this.stag(), offset: this.#at(offset, length), length }),
    );
  }

  /**
   * Reads as many bytes as `memory` has into it, over 16 KiB without a copy: it may then change
   * until the operation is really over, even after a timeout or an abort.
   */
  async readInto(
    offset: number,
    memory: Uint8Array,
    limits: Limits = NO_LIMITS,
  ): Promise<Uint8Array> {
    checkMemory(memory, 'memory');
    const at = this.#at(offset, memory.byteLength);
    await this.#pieces({ at, memory }, limits, (pair, piece, begin, bounds) =>
      pair.readInto({ ...bounds, stag: this.stag(), offset: at + begin, memory: piece }),
    );
    return memory;
  }

  /** Writes `bytes`, which must not change meanwhile; resolves once all have been placed. */
  write(offset: number, bytes: Uint8Array, limits: Limits = NO_LIMITS): Promise<void> {
    const byteLength = bytes?.byteLength; // what has none is refused below, with a code
    if (byteLength > PIECE_BYTES) return this.link.track(this.#writeLong(offset, bytes, limits));
    return this.#change(offset, byteLength, limits, (pair) => {
      checkMemory(bytes, 'bytes');
      const at = this.#at(offset, byteLength);
      return pair.write({ ...limits, stag: this.stag(), offset: at, bytes });
    });
  }

  /** Adds to the 64-bit word at an offset that is a multiple of 8; the value before (RFC 7306). */
  fetchAdd(offset: number, addend: bigint, limits: Limits = NO_LIMITS): Promise<bigint> {
    return this.#change(offset, 8, limits, (pair) =>
      pair.fetchAdd({ ...limits, stag: this.stag(), offset: this.#at(offset, 8), addend }),
    );
  }

  /** Stores `desired` where the word is `expected`; the value before, whether it did or not. */
  compareSwap(
    offset: number,
    expected: bigint,
    desired: bigint,
    limits: Limits = NO_LIMITS,
  ): Promise<bigint> {
    return this.#change(offset, 8, limits, (pair) => {
      const at = this.#at(offset, 8);
      return pair.compareSwap({ ...limits, stag: this.stag(), offset: at, expected, desired });
    });
  }

  /**
   * Resolves once every write and atomic of this client that was begun before has been placed;
   * rejects as the first of them that fails meanwhile.
   */
  fence(limits: Limits = NO_LIMITS): Promise<void> {
    return this.link.fence(limits);
  }

  /** As `read`, blocking the thread: the lowest latency there is. */
  readSync(offset: number, length: number, limits: BlockingLimits = NO_LIMITS): Uint8Array {
    givenLimits(limits);
    const at = this.#at(offset, length);
    if (length > PIECE_BYTES) {
      return this.readIntoSync(offset, new Uint8Array(newBuffer(length)), limits);
    }
    const { timeoutMs } = limits;
    return this.#runSync(at, length, (pair) =>
      // No spread on the fastest path there is.
      pair.readSync(
        timeoutMs === undefined
          ? { stag: this.stag(), offset: at, length }
          : { stag: this.stag(), offset: at, length, timeoutMs },
      ),
    );
  }

  /** As `readInto`, blocking the thread. */
  readIntoSync(offset: number, memory: Uint8Array, limits: BlockingLimits = NO_LIMITS): Uint8Array {
    givenLimits(limits);
    checkMemory(memory, 'memory');
    const at = this.#at(offset, memory.byteLength);
    if (memory.byteLength <= PIECE_BYTES) {
      this.#runSync(at, memory.byteLength, (pair) =>
        pair.readIntoSync({ ...limits, stag: this.stag(), offset: at, memory }),
      );
      return memory;
    }
    this.#piecesSync({ at, memory }, limits, (pair, piece, begin, bounds) =>
      pair.readIntoSync({ ...bounds, stag: this.stag(), offset: at + begin, memory: piece }),
    );
    return memory;
  }

  /** As `write`, blocking the thread. */
  writeSync(offset: number, bytes: Uint8Array, limits: BlockingLimits = NO_LIMITS): void {
    givenLimits(limits);
    checkMemory(bytes, 'bytes');
    const at = this.#at(offset, bytes.byteLength);
    if (bytes.byteLength <= PIECE_BYTES) {
      this.#changeSync(at, bytes.byteLength, (pair) =>
        pair.writeSync({ ...limits, stag: this.stag(), offset: at, bytes }),
      );
      return;
    }
    this.#piecesSync({ at, memory: bytes }, limits, (pair, piece, begin, bounds) => {
      this.attached.unconfirmed.post();
      pair.writeSync({ ...bounds, stag: this.stag(), offset: at + begin, bytes: piece });
    });
  }

  /** As `fetchAdd`, blocking the thread. */
  fetchAddSync(offset: number, addend: bigint, limits: BlockingLimits = NO_LIMITS): bigint {
    givenLimits(limits);
    const at = this.#at(offset, 8);
    return this.#changeSync(at, 8, (pair) =>
      pair.fetchAddSync({ ...limits, stag: this.stag(), offset: at, addend }),
    );
  }

  /** As `compareSwap`, blocking the thread. */
  compareSwapSync(
    offset: number,
    expected: bigint,
    desired: bigint,
    limits: BlockingLimits = NO_LIMITS,
  ): bigint {
    givenLimits(limits);
    const at = this.#at(offset, 8);
    return this.#changeSync(at, 8, (pair) =>
      pair.compareSwapSync({ ...limits, stag: this.stag(), offset: at, expected, desired }),
    );
  }

  /** The STag of now: it is another one after the session was opened anew. */
  protected stag(): number {
    const { lost, reply } = this.attached;
    if (lost === undefined) return reply.stag;
    this.attached.regain().catch(() => {}); // For the next call: this one cannot wait.
    throw lost;
  }

  #run<T>(
    offset: number,
    length: number,
    limits: Limits,
    operation: (pair: QueuePair) => Promise<T>,
  ): Promise<T> {
    return this.link.run(operation, limits, this.attached, this.#where(offset), length, false);
  }

  /** The same for what fences wait for. */
  #change<T>(
    offset: number,
    length: number,
    limits: Limits,
    operation: (pair: QueuePair) => Promise<T>,
  ): Promise<T> {
    return this.link.run(operation, limits, this.attached, this.#where(offset), length, true);
  }

  /** For errors. What is no offset is refused as soon as the operation begins, by `#at`. */
  #where(offset: number): number {
    return typeof offset === 'number' ? this.offset + offset : this.offset;
  }

  #runSync<T>(at: number, length: number, operation: (pair: QueuePair) => T): T {
    try {
      return this.link.runSync(operation);
    } catch (error) {
      throw named(error, this.attached, at, length);
    }
  }

  /** The same of a change, which has been placed when it returns. */
  #changeSync<T>(at: number, length: number, operation: (pair: QueuePair) => T): T {
    const value = this.#runSync(at, length, operation);
    this.attached.unconfirmed.post();
    return value;
  }

  #at(offset: number, length: number): number {
    if (isOffset(offset) && isOffset(length)) {
      if (length <= this.size - offset) return this.offset + offset;
      throw new FarpageError('ERR_RANGE', `${offset} + ${length} in ${this.size} bytes`);
    }
    const [what, given] = isOffset(offset) ? ['length', length] : ['offset', offset];
    throw new FarpageError('ERR_ARGUMENT', `${what}: a number of bytes, not ${nameOf(given)}`);
  }

  async #readLong(offset: number, length: number, limits: Limits): Promise<Uint8Array> {
    this.#at(offset, length);
    return await this.readInto(offset, new Uint8Array(newBuffer(length)), limits);
  }

  async #writeLong(offset: number, bytes: Uint8Array, limits: Limits): Promise<void> {
    checkMemory(bytes, 'bytes');
    const at = this.#at(offset, bytes.byteLength);
    const changes = { at, memory: bytes, changes: true };
    await this.#pieces(changes, limits, (pair, piece, begin, bounds) =>
      pair.write({ ...bounds, stag: this.stag(), offset: at + begin, bytes: piece }),
    );
  }

  /** Runs an operation for every piece of `memory`, a few at a time, within one deadline. */
  async #pieces(
    { at, memory, changes = false }: { at: number; memory: Uint8Array; changes?: boolean },
    limits: Limits,
    run: (pair: QueuePair, piece: Uint8Array, begin: number, limits: Limits) => Promise<unknown>,
  ): Promise<void> {
    const deadline = deadlineOf(givenLimits(limits));
    let next = 0;
    const lane = async () => {
      while (next < memory.byteLength) {
        const begin = next;
        next = Math.min(begin + PIECE_BYTES, memory.byteLength);
        const piece = memory.subarray(begin, next);
        const bounds = remaining(limits, deadline);
        await this.link.run(
          (pair) => run(pair, piece, begin, bounds),
          bounds,
          this.attached,
          at + begin,
          piece.byteLength,
          changes,
        );
      }
    };
    const pieces = Math.ceil(memory.byteLength / PIECE_BYTES);
    const lanes = Array.from({ length: Math.min(pieces, PIECES_IN_FLIGHT) }, () =>
      lane().catch((error: unknown) => {
        next = memory.byteLength; // The others need not begin another piece.
        throw error;
      }),
    );
    // All of them end before the caller hears of a failure: the memory is his again then.
    for (const lane of await Promise.allSettled(lanes)) {
      if (lane.status === 'rejected') throw lane.reason;
    }
  }

  #piecesSync(
    { at, memory }: { at: number; memory: Uint8Array },
    limits: BlockingLimits,
    run: (pair: QueuePair, piece: Uint8Array, begin: number, limits: BlockingLimits) => void,
  ): void {
    const deadline = deadlineOf(limits);
    for (let begin = 0; begin < memory.byteLength; begin += PIECE_BYTES) {
      const piece = memory.subarray(begin, begin + PIECE_BYTES);
      this.#runSync(at + begin, piece.byteLength, (pair) =>
        run(pair, piece, begin, remaining(limits, deadline)),
      );
    }
  }
}
