/** Streams between a region and a sink or source, in constant memory, several pieces in flight. */
import type { ExternalRegion } from '../client/external-region.js';
import type { Limits } from '../client/limits.js';
import { contextOf } from '../control/codes.js';
import { FarpageError } from '../errors.js';

export const PIECE_BYTES = 1024 * 1024;
const PIECES_IN_FLIGHT = 8;

export interface ReadPlan {
  readonly offset: number;
  readonly length: number;
  readonly limits: Limits;
  /** Takes the next bytes; false when it wants no more. They are reused once it has settled. */
  readonly sink: (bytes: Uint8Array) => Promise<boolean>;
}

/** Reads a range in order. */
export async function readRange(region: ExternalRegion, plan: ReadPlan): Promise<void> {
  const end = plan.offset + plan.length;
  const spare: Uint8Array[] = [];
  const queue: Promise<Uint8Array>[] = [];
  let next = plan.offset;
  const fill = () => {
    while (queue.length < PIECES_IN_FLIGHT && next < end) {
      const memory = spare.pop() ?? new Uint8Array(Math.min(PIECE_BYTES, plan.length));
      const length = Math.min(memory.byteLength, end - next);
      const read = region.readInto(next, memory.subarray(0, length), plan.limits);
      read.catch(() => {}); // Met when its turn comes, or not at all after another one's failure.
      queue.push(read);
      next += length;
    }
  };
  for (fill(); queue.length > 0; fill()) {
    const bytes = await (queue.shift() as Promise<Uint8Array>);
    if (!(await plan.sink(bytes))) return;
    spare.push(new Uint8Array(bytes.buffer));
  }
}

export interface WritePlan {
  readonly offset: number;
  readonly limits: Limits;
  /** Pieces of up to 1 MiB in order, each of them left alone once it was given. */
  readonly source: AsyncIterable<Uint8Array>;
  readonly onWritten: (total: number) => void;
}

/** The failure of a write, with how much of the input the region has all the same. */
function partly(failure: unknown, bytes: number): unknown {
  if (!(failure instanceof FarpageError)) return failure;
  const said = contextOf(failure);
  const done = bytes === 0 ? 'nothing is written' : `the first ${bytes} bytes are written`;
  const context = `${said === '' ? '' : `${said}; `}${done}`;
  return new FarpageError(failure.code, context, { cause: failure });
}

/** Writes what comes, one behind the other; returns how many bytes. ERR_RANGE at the end. */
export async function writeRange(region: ExternalRegion, plan: WritePlan): Promise<number> {
  const flying = new Set<Promise<void>>();
  let failure: unknown;
  let total = 0;
  let written = 0;
  /** Where the first piece begins that was not written. */
  let whole = Number.POSITIVE_INFINITY;
  const start = (offset: number, bytes: Uint8Array) => {
    const write = region.write(offset, bytes, plan.limits).then(
      () => {
        written += bytes.byteLength;
        plan.onWritten(written);
      },
      (error: unknown) => {
        whole = Math.min(whole, offset - plan.offset);
        // The write that broke the connection knows why; those before it only that it broke.
        const unknown = failure instanceof FarpageError && failure.code === 'ERR_OUTCOME_UNKNOWN';
        if (failure === undefined || unknown) failure = error;
      },
    );
    const done = write.finally(() => flying.delete(done));
    flying.add(done);
  };
  for await (const bytes of plan.source) {
    const offset = plan.offset + total;
    if (bytes.byteLength > region.size - offset) {
      failure ??= new FarpageError('ERR_RANGE', `more input than up to byte ${region.size}`);
    }
    if (failure !== undefined) break;
    start(offset, bytes);
    total += bytes.byteLength;
    if (flying.size >= PIECES_IN_FLIGHT) await Promise.race(flying);
  }
  await Promise.all(flying);
  if (failure !== undefined) throw partly(failure, Math.min(whole, total));
  return total;
}
