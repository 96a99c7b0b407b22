/** Memory for the results of READs, cheap for small ones. */
import { markAsUntransferable } from 'node:worker_threads';

const POOL_BYTES = 64 * 1024;
/** A result over this gets an ArrayBuffer of its own. */
const POOLED_BYTES_MAX = 4096;

let pool: ArrayBufferLike = new ArrayBuffer(0);
let used = 0;

/**
 * `length` bytes, not zeroed when they come from an allocation of their own. Small ones share an
 * ArrayBuffer, like Node's Buffers: it cannot be transferred, and one result keeps all of it alive.
 */
export function allocateResult(length: number): Uint8Array {
  if (length > POOLED_BYTES_MAX) {
    const own = Buffer.allocUnsafeSlow(length);
    return new Uint8Array(own.buffer, own.byteOffset, length);
  }
  if (used + length > pool.byteLength) {
    pool = Buffer.allocUnsafeSlow(POOL_BYTES).buffer; // not zeroed: it is overwritten
    markAsUntransferable(pool);
    used = 0;
  }
  const result = new Uint8Array(pool, used, length);
  used += (length + 7) & ~7;
  return result;
}
