/**
 * What runs below `QueuePair`: batches and completions. Everything posted in one turn of the
 * microtask queue goes out in one native call, which also takes the answers that come at once.
 */
import { type ErrorCode, FarpageError } from '../errors.js';
import type { NativeBinding, QueuePair as NativeQueuePair } from '../native/binding.js';
import { OPCODE } from '../native/binding.js';
import { completionError } from './completion-error.js';
import { Deadlines } from './deadlines.js';
import { Operation, type Value } from './operation.js';
import { QueuePairRecords } from './queue-pair-records.js';
import { SlotTable } from './slot-table.js';
import { TurnBudget } from './turn-budget.js';
import { WaitingLine } from './waiting-line.js';

/** What "no deadline" means to a synchronous call. */
const WAIT_MS_MAX = 1_000_000_000;

/** Codes of completions that only a connection's end brings. */
const ENDING: readonly ErrorCode[] = ['ERR_CONNECTION', 'ERR_PROTOCOL', 'ERR_OUTCOME_UNKNOWN'];

export class QueuePairEngine {
  readonly #native: NativeBinding;
  readonly #queuePair: NativeQueuePair;
  readonly #records: QueuePairRecords;
  readonly #slots: SlotTable;
  readonly #waiting = new WaitingLine();
  readonly #deadlines = new Deadlines(() => [...this.#slots.all, ...this.#waiting.all()]);
  readonly #spinUs: number;
  readonly #budget: TurnBudget;
  /** Records of the batch that is being posted. */
  #posted = 0;
  /** Ends that batch, once it has a fenced WRITE. */
  #fence: Operation | undefined;
  #scheduled = false;
  /** An unfenced WRITE was posted, and no fence after it has ended well; the last one after it. */
  #unplaced = false;
  #lastFence: Operation | undefined;
  /** Completions so far that took a round trip. */
  #answers = 0;
  #ended = false;
  /** What operations end with that nobody has begun yet; undefined while it is open. */
  #closed: FarpageError | undefined;
  readonly #onTurn = () => {
    this.#scheduled = false;
    if (this.#posted > 0) this.#flush(false);
  };

  constructor(native: NativeBinding, queuePair: NativeQueuePair, spinUs: number) {
    this.#native = native;
    this.#queuePair = queuePair;
    this.#records = new QueuePairRecords(queuePair);
    this.#slots = new SlotTable(native, queuePair);
    this.#spinUs = spinUs;
    this.#budget = new TurnBudget(spinUs);
  }

  get ended(): boolean {
    return this.#ended || this.#closed !== undefined;
  }

  /** Operations that have a slot or wait for one. */
  get inFlight(): number {
    return this.#slots.used + this.#waiting.length;
  }

  /** Posts with the batch of this turn, or waits for a slot. Failures end the operation. */
  start(operation: Operation): void {
    if (this.#closed !== undefined) {
      operation.fail(this.#closed);
      return;
    }
    if (operation.timeoutMs > 0) this.#deadlines.arm();
    this.#waiting.push(operation);
    this.#admit();
  }

  /** Posts at once, with what was posted before, and blocks until the operation has ended. */
  run(operation: Operation): void {
    this.start(operation);
    if (this.#posted > 0) this.#flush(true);
    if (operation.settled) return;
    const deadline = performance.now() + (operation.timeoutMs || WAIT_MS_MAX);
    while (!operation.settled) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        operation.fail(new FarpageError('ERR_TIMEOUT', `no answer in ${operation.timeoutMs} ms`));
        return;
      }
      this.take(this.#native.queuePairWait(this.#queuePair.handle, Math.ceil(leftMs * 1000)));
      if (this.#posted > 0) this.#flush(true);
    }
  }

  /** Takes `count` completion records; the native side calls it when they come by themselves. */
  take(count: number): void {
    for (let index = 0; index < count; index++) {
      const operation = this.#slots.all[this.#records.slotOf(index)];
      if (operation === undefined) continue;
      const code = this.#records.codeOf(index);
      this.#complete(operation, code === 0 ? undefined : this.#errorOf(index, code), index);
    }
    this.#admit();
  }

  /** Ends everything in flight. Idempotent. */
  close(cause?: unknown): void {
    this.#end(new FarpageError('ERR_CLOSED', 'queue pair', { cause }));
  }

  /**
   * Ends everything in flight as the end of its connection does: what was never sent, and READs,
   * with ERR_CONNECTION. Idempotent.
   */
  abandon(): void {
    // What was sent only the native side knows, and it takes no more than a slot for each at once.
    for (let left = Number.POSITIVE_INFINITY; this.inFlight > 0 && this.inFlight < left; ) {
      left = this.inFlight;
      if (this.#closed === undefined) this.#flush(false);
    }
    this.#end(new FarpageError('ERR_CONNECTION', 'queue pair'));
  }

  #end(error: FarpageError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#deadlines.stop();
    this.#native.queuePairClose(this.#queuePair.handle);
    for (const operation of this.#slots.all) {
      const repeatable = operation === undefined || operation.kind === OPCODE.read;
      operation?.fail(repeatable ? error : outcomeUnknown(error));
    }
    for (const operation of this.#waiting.all()) operation.fail(error);
  }

  /** Posts what waits, in order, as far as there are slots. */
  #admit(): void {
    for (;;) {
      const operation = this.#waiting.first();
      if (operation === undefined) return;
      // The first fenced WRITE of a batch takes a slot for its fence, too.
      if (this.#slots.free <= (operation.fenced && this.#fence === undefined ? 1 : 0)) return;
      this.#waiting.shift();
      if (!operation.hasMemory()) {
        operation.fail(detached());
        continue;
      }
      this.#post(operation);
      if (this.#scheduled) continue;
      this.#scheduled = true;
      queueMicrotask(this.#onTurn);
    }
  }

  #post(operation: Operation): void {
    const { kind, stag, offset, length } = operation;
    const slot = this.#slots.occupy(operation);
    const atomic = kind > OPCODE.write;
    const staging = atomic ? 0 : this.#slots.place(operation);
    this.#records.putRequest(this.#posted, kind, slot, stag, offset, length, staging);
    if (atomic) this.#records.putOperands(this.#posted, operation.first, operation.second);
    this.#posted++;
    if (!operation.fenced) {
      if (operation.writes !== undefined) {
        operation.covers = this.#coveredBy();
        this.#lastFence = operation;
      } else if (kind === OPCODE.write) {
        this.#unplaced = true;
        this.#lastFence = undefined;
      }
      return;
    }
    if (this.#fence === undefined) {
      this.#fence = Operation.fence();
      this.#slots.occupy(this.#fence);
    }
    operation.fence = this.#fence;
    this.#fence.writes?.push(operation);
  }

  /** Whether a fence that is posted now has anything to tell of. */
  #coveredBy(): boolean {
    return this.#unplaced || this.#slots.all.some((operation) => operation?.kind === OPCODE.write);
  }

  #flush(blocking: boolean): void {
    const fence = this.#fence;
    if (fence !== undefined) {
      this.#records.putRequest(this.#posted++, fence.kind, fence.slot, 0, 0, 0, 0);
      this.#lastFence = fence;
      this.#fence = undefined;
    }
    const count = this.#posted;
    this.#posted = 0;
    const spinUs = blocking ? this.#spinUs : this.#budget.spinUs(performance.now());
    const answers = this.#answers;
    try {
      this.take(this.#queuePair.submit(count, spinUs));
    } catch (error) {
      // Nothing that the other side can cause: a record of ours was unlawful.
      this.close(new FarpageError('ERR_INTERNAL', 'submit', { cause: error }));
    }
    if (spinUs > 0 && !blocking) this.#budget.learn(this.#answers !== answers);
  }

  #errorOf(index: number, code: number): FarpageError {
    const terminate = this.#records.terminateOf(index);
    const error = completionError(this.#native.errorCodes[code], terminate);
    this.#ended ||= terminate >= 0 || ENDING.includes(error.code);
    return error;
  }

  #complete(operation: Operation, error: FarpageError | undefined, index: number): void {
    if (operation.fenced) {
      // The slot stays taken until the fence: the WRITE may complete again, with its failure.
      operation.completed = true;
      operation.lost ??= error;
      if (operation.fence?.completed === true) this.#endWrite(operation);
      return;
    }
    if (operation.kind !== OPCODE.write) this.#answers++;
    if (operation.writes !== undefined) {
      this.#endFence(operation, error);
      return;
    }
    const failure = error ?? (operation.hasMemory() ? undefined : detached());
    const value = failure === undefined ? this.#valueOf(operation, index) : undefined;
    this.#slots.release(operation);
    if (failure === undefined) operation.succeed(value);
    else operation.fail(failure);
  }

  #endFence(fence: Operation, error: FarpageError | undefined): void {
    fence.completed = true;
    fence.lost = error;
    this.#slots.release(fence);
    if (error === undefined && fence === this.#lastFence) this.#unplaced = false;
    if (error === undefined) fence.succeed(undefined);
    else fence.fail(fence.covers ? outcomeUnknown(error) : error);
    for (const write of fence.writes ?? []) if (write.completed) this.#endWrite(write);
  }

  #endWrite(write: Operation): void {
    this.#slots.release(write);
    const lost = write.fence?.lost;
    if (write.lost !== undefined) write.fail(write.lost);
    else if (lost !== undefined) write.fail(outcomeUnknown(lost));
    else write.succeed(undefined);
  }

  #valueOf(operation: Operation, index: number): Value {
    if (operation.kind > OPCODE.write) return this.#records.oldValueOf(index);
    if (operation.kind === OPCODE.write || operation.settled) return undefined;
    return this.#slots.collect(operation);
  }
}

function detached(): FarpageError {
  return new FarpageError('ERR_ARGUMENT', 'the memory was detached meanwhile');
}

function outcomeUnknown(cause: Error): FarpageError {
  return new FarpageError('ERR_OUTCOME_UNKNOWN', '', { cause });
}
