/** Queue pairs at the border: the initiator's side of a connection, as JavaScript drives it. */
declare const tag: unique symbol;
export type QueuePairHandle = object & { readonly [tag]: 'queuePair' };

export interface ConnectOptions {
  /** Exactly one of `path` (a Unix socket) and `host` with `port`. */
  readonly path?: string;
  readonly host?: string;
  readonly port?: number;
  /** The 16-byte ticket of the session; absent for ports of `farpage export`. */
  readonly ticket?: Uint8Array;
  /** Asks for CRC32C on every FPDU. */
  readonly crc: boolean;
  /** Requests in flight at most, 1..128 (the IRD that is asked for). */
  readonly depth: number;
  /** Bound on connecting and the MPA handshake together. */
  readonly timeoutMs: number;
}

/**
 * One initiator queue pair as JavaScript drives it. Requests are written as records into
 * `requests` and posted in batches; completions come back as records in `completions`.
 *
 * A request record is 64 bytes: f64[0] opcode, f64[1] slot (the caller's id, 0..slots-1),
 * f64[2] STag, f64[3] remote offset, f64[4] length in bytes, f64[5] staging offset or -1 when an
 * own buffer was attached to the slot with `queuePairAttach`, u64[6] and u64[7] the operands of
 * an atomic (add; or compare and swap).
 * A completion record is 32 bytes: f64[0] slot, f64[1] index of its code in `errorCodes`
 * (0 is success), f64[2] the RDMAP layer<<16 | type<<8 | code of a Terminate or -1,
 * u64[3] the old value of an atomic.
 */
export interface QueuePair {
  readonly handle: QueuePairHandle;
  /**
   * Posts the first `count` request records in one send, then polls up to `spinUs` for answers.
   * Returns the number of completion records to take now. Throws what a broken rule of ours brings.
   */
  readonly submit: (count: number, spinUs: number) => number;
  readonly requests: ArrayBuffer;
  readonly completions: ArrayBuffer;
  /** Memory that small READs land in and small WRITEs are sent from. */
  readonly staging: ArrayBuffer;
  /** Slots, thus requests not yet completed, at most. */
  readonly slots: number;
  /** What the responder granted: READs and atomics outstanding at most. */
  readonly depth: number;
}

export const OPCODE = { read: 0, write: 1, fetchAdd: 2, compareSwap: 3 } as const;

export interface QueuePairBinding {
  /** Connects on a worker thread; `onReady` is called with the number of completions to take. */
  queuePairConnect(
    options: ConnectOptions,
    onReady: (completions: number) => void,
  ): Promise<QueuePair>;
  /** Attaches memory of the caller's to a slot until the slot's completion has been taken. */
  queuePairAttach(queuePair: QueuePairHandle, slot: number, memory: Uint8Array): void;
  /** Waits up to `timeoutUs` for at least one completion; 0 only looks. */
  queuePairWait(queuePair: QueuePairHandle, timeoutUs: number): number;
  /** Idempotent. Requests in flight are dropped without a completion: the caller ends them. */
  queuePairClose(queuePair: QueuePairHandle): void;
}
