/** The fabric connection of a client, made again when it is lost. */
import { FarpageError } from '../errors.js';
import type { QueuePair } from '../fabric/queue-pair.js';
import type { Attached } from './attached.js';
import { deadlineOf, givenLimits, type Limits, pause, remaining, within } from './limits.js';
import { named } from './named.js';

/** Tries before those who wait are told; the pauses between them double up to the longest. */
const TRIES_MAX = 8;
const PAUSE_MS = 10;
const PAUSE_MS_MAX = 500;
/**
 * How often one operation may be begun anew because its connection was lost, also to others whose
 * operations were refused: its deadline ends that earlier, if it has one.
 */
const REPEATS_MAX = 4096;

/** What another try may mend: the others will fail again. */
const PASSING: readonly string[] = [
  'ERR_CONNECTION',
  'ERR_NO_APPLIANCE',
  'ERR_TIMEOUT',
  'ERR_TICKET',
];

function hasCode(error: unknown, ...codes: readonly string[]): error is FarpageError {
  return error instanceof FarpageError && codes.includes(error.code);
}

/** An operation that waits for a connection. */
interface Asked {
  readonly limits: Limits;
  readonly began: number;
  readonly attached: Attached;
  readonly offset: number;
  readonly length: number;
  /** Fences wait for it. */
  readonly changes: boolean;
}

/**
 * Runs operations on a queue pair. When the connection breaks, what ends with ERR_CONNECTION (READs
 * without an answer and what was never sent) is repeated on a new one within its own deadline;
 * other operations end as the queue pair says.
 */
export class FabricLink {
  readonly #open: () => Promise<QueuePair>;
  #pair: QueuePair | undefined;
  #making: Promise<QueuePair> | undefined;
  #closed = false;
  /** Connections made so far. */
  made = 0;
  /**
   * Writes and atomics of which a queue pair's fence knows nothing, or not everything: those that
   * wait for a connection, and those of many pieces. Each settles with its error, if it fails.
   */
  readonly #changes = new Set<Promise<unknown>>();
  /** Of those begun so far, whose outcome is unknown. */
  #unknown = 0;

  constructor(open: () => Promise<QueuePair>) {
    this.#open = open;
  }

  /** Nobody makes it again. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The connection, when it stands. */
  get pair(): QueuePair | undefined {
    return this.#pair?.ended === false ? this.#pair : undefined;
  }

  /**
   * Runs one operation on `length` bytes at `offset` of a region, which its errors name; `changes`
   * are waited for by fences. Each in an argument of its own: what every operation would make of
   * them costs 5 % of its rate.
   */
  run<T>(
    operation: (pair: QueuePair) => Promise<T>,
    limits: Limits,
    attached: Attached,
    offset: number,
    length: number,
    changes: boolean,
  ): Promise<T> {
    const began = performance.now();
    const { pair } = this;
    try {
      givenLimits(limits);
    } catch (error) {
      return Promise.reject(error);
    }
    if (pair === undefined || attached.isAway) {
      return this.#again(operation, { limits, began, attached, offset, length, changes });
    }
    if (changes) attached.unconfirmed.post();
    try {
      return operation(pair).catch((error: unknown) => {
        if (hasCode(error, 'ERR_CONNECTION')) {
          if (changes) attached.unconfirmed.takeBack();
          return this.#again(operation, { limits, began, attached, offset, length, changes });
        }
        if (changes && hasCode(error, 'ERR_OUTCOME_UNKNOWN')) this.#unknown += 1;
        throw named(error, attached, offset, length);
      });
    } catch (error) {
      return Promise.reject(error); // Refused before it was posted.
    }
  }

  /** Runs a blocking call; ERR_CONNECTION while there is no connection (one is made meanwhile). */
  runSync<T>(operation: (pair: QueuePair) => T): T {
    const { pair } = this;
    if (pair !== undefined) return operation(pair);
    this.connect().catch(() => {}); // Told to the next caller that can wait.
    throw new FarpageError(this.#closed ? 'ERR_CLOSED' : 'ERR_CONNECTION', 'while it is re-made');
  }

  /** Makes fences wait for a change that is begun; returns it. */
  track<T>(change: Promise<T>): Promise<T> {
    const ended: Promise<unknown> = change.then(
      () => undefined,
      (error: unknown) => error,
    );
    this.#changes.add(ended);
    void ended.then(() => this.#changes.delete(ended));
    return change;
  }

  /**
   * Resolves once every write and atomic begun before has been placed; rejects as one of them does
   * that has not ended yet, and with ERR_OUTCOME_UNKNOWN where the connection broke before one was
   * answered.
   */
  async fence(limits: Limits): Promise<void> {
    givenLimits(limits);
    const began = performance.now();
    const { pair } = this;
    if (pair === undefined || this.#changes.size > 0) return await this.#fenceAgain(limits, began);
    return await pair.fence(limits).catch((error: unknown) => {
      if (!hasCode(error, 'ERR_CONNECTION')) throw error;
      return this.#fenceAgain(limits, began);
    });
  }

  /** Makes the connection unless it stands; several callers share one attempt. */
  connect(): Promise<QueuePair> {
    if (this.#closed) return Promise.reject(new FarpageError('ERR_CLOSED', 'client'));
    const { pair } = this;
    if (pair !== undefined) return Promise.resolve(pair);
    if (this.#making === undefined) {
      this.#making = this.#make().finally(() => {
        this.#making = undefined;
      });
      // Whoever waits hears of a failure; perhaps nobody does any more.
      this.#making.catch(() => {});
    }
    return this.#making;
  }

  /** Ends the connection and what is in flight. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#pair?.close();
  }

  async #make(): Promise<QueuePair> {
    this.#pair?.abandon();
    for (let tries = 1; ; tries += 1) {
      try {
        const pair = await this.#open();
        if (this.#closed) {
          pair.close();
          throw new FarpageError('ERR_CLOSED', 'client');
        }
        this.made += 1;
        this.#pair = pair;
        return pair;
      } catch (error) {
        // Who connects for the first time is told at once, but for a ticket that came too late.
        const worth =
          this.made === 0
            ? tries === 1 && hasCode(error, 'ERR_TICKET')
            : tries < TRIES_MAX && hasCode(error, ...PASSING);
        if (this.#closed || !worth) throw error;
      }
      await pause(Math.min(PAUSE_MS * 2 ** tries, PAUSE_MS_MAX));
    }
  }

  #again<T>(operation: (pair: QueuePair) => Promise<T>, asked: Asked): Promise<T> {
    const repeated = this.#repeat(operation, asked);
    return asked.changes ? this.track(repeated) : repeated;
  }

  async #repeat<T>(operation: (pair: QueuePair) => Promise<T>, asked: Asked): Promise<T> {
    const { limits, began, attached, offset, length, changes } = asked;
    const deadline = deadlineOf(limits) - (performance.now() - began);
    for (let repeats = 1; ; repeats += 1) {
      const bounds = remaining(limits, deadline);
      const pair = await within(this.connect(), bounds);
      if (attached.isAway) {
        await within(attached.regain(), remaining(limits, deadline));
        continue; // The connection may be another one by then.
      }
      try {
        if (changes) attached.unconfirmed.post();
        return await operation(pair);
      } catch (error) {
        const notSent = hasCode(error, 'ERR_CONNECTION');
        if (changes && notSent) attached.unconfirmed.takeBack();
        if (notSent && repeats < REPEATS_MAX) continue;
        throw named(error, attached, offset, length);
      }
    }
  }

  async #fenceAgain(limits: Limits, began: number): Promise<void> {
    const deadline = deadlineOf(limits) - (performance.now() - began);
    const unknown = this.#unknown;
    for (let repeats = 1; ; repeats += 1) {
      // What ended with the same connection is begun anew by then.
      await pause(0);
      const changes = Promise.all(this.#changes);
      const failed = (await within(changes, remaining(limits, deadline))).find(Boolean);
      if (failed !== undefined) throw failed;
      const bounds = remaining(limits, deadline);
      const pair = await within(this.connect(), bounds);
      try {
        await pair.fence(remaining(limits, deadline));
        if (this.#unknown === unknown) return;
        throw new FarpageError('ERR_OUTCOME_UNKNOWN', 'of a write that was begun before');
      } catch (error) {
        if (!hasCode(error, 'ERR_CONNECTION') || repeats >= REPEATS_MAX) throw error;
      }
    }
  }
}
