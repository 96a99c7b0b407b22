/** What a region knows of its own syncs over restarts: their count, and what a crash has taken. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { FarpageError } from '../errors.js';

/** Two slots, written in turn, so that a torn one leaves the other; a sector each. */
const SLOT_BYTES = 512;
const SUM_BYTES = 16;
const FIELDS = 4;

/** Numbers of one record. */
interface Fields {
  /** Grows by one with each record that is written: which slot is newer. */
  readonly serial: number;
  /** Durable syncs so far, and one more for each loss. */
  readonly epoch: number;
  /** The epoch whose later writes were lost last; -1 when none ever were. */
  readonly lost: number;
  /** Some process has it open, or died with it open. */
  readonly open: boolean;
}

const NONE: Fields = { serial: 0, epoch: 0, lost: -1, open: false };

function encode(fields: Fields): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  const numbers = [fields.serial, fields.epoch, fields.lost, fields.open ? 1 : 0];
  for (const [index, number] of numbers.entries()) bytes.writeDoubleLE(number, index * 8);
  sumOf(bytes).copy(bytes, FIELDS * 8);
  return bytes;
}

function sumOf(bytes: Buffer): Buffer {
  return createHash('sha256')
    .update(bytes.subarray(0, FIELDS * 8))
    .digest()
    .subarray(0, SUM_BYTES);
}

function decode(bytes: Buffer): Fields | undefined {
  const sum = bytes.subarray(FIELDS * 8, FIELDS * 8 + SUM_BYTES);
  if (!sum.equals(sumOf(bytes))) return undefined;
  const [serial = 0, epoch = 0, lost = -1, open = 0] = [0, 1, 2, 3].map((index) =>
    bytes.readDoubleLE(index * 8),
  );
  return { serial, epoch, lost, open: open !== 0 };
}

function ioError(cause: unknown, path: string): FarpageError {
  const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
  return new FarpageError(full ? 'ERR_NO_SPACE' : 'ERR_IO', path, { cause });
}

/**
 * A small file beside the kept files of the state directory. The order is: data durable, then the
 * count, then the receipt; so an epoch that a client has seen never stands for less than it says.
 */
export class SyncRecord {
  readonly #path: string;
  #fields: Fields;
  /** There was none: no process has had the region open before. */
  readonly fresh: boolean;

  private constructor(path: string, fields: Fields) {
    this.#path = path;
    this.fresh = fields === NONE;
    this.#fields = fields;
  }

  /** Reads it, or begins one; a damaged one begins anew, with everything lost. */
  static open(path: string): SyncRecord {
    try {
      const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      try {
        const both = Buffer.alloc(2 * SLOT_BYTES);
        const length = readSync(file, both, 0, both.length, 0);
        const slots = [0, 1].map((slot) =>
          decode(both.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)),
        );
        const found = slots
          .filter((slot) => slot !== undefined)
          .reduce<Fields | undefined>((best, slot) => {
            return best === undefined || slot.serial > best.serial ? slot : best;
          }, undefined);
        if (found !== undefined) return new SyncRecord(path, found);
        if (length === 0) writeSync(file, both, 0, both.length, 0);
        return new SyncRecord(path, length === 0 ? NONE : { ...NONE, open: true });
      } finally {
        closeSync(file);
      }
    } catch (cause) {
      throw ioError(cause, path);
    }
  }

  /** Durable syncs so far. */
  get epoch(): number {
    return this.#fields.epoch;
  }

  /** The epoch whose later writes were lost last, by whichever start; null: none ever were. */
  get lost(): number | null {
    return this.#fields.lost < 0 ? null : this.#fields.lost;
  }

  /** The process that had the region open last did not close it. */
  get unclean(): boolean {
    return this.#fields.open;
  }

  /** It is open from now on; `lost` says that what came after the last sync is gone. */
  begin(options: { lost: boolean }): void {
    const { epoch } = this.#fields;
    if (!options.lost) {
      this.#put({ open: true });
      return;
    }
    this.#put({ open: true, lost: epoch, epoch: epoch + 1 });
    this.#use((file) => fdatasyncSync(file));
  }

  /** One durable sync more; durable itself when the promise settles. */
  async advance(): Promise<number> {
    this.#put({ epoch: this.#fields.epoch + 1 });
    const { epoch } = this.#fields;
    const file = openSync(this.#path, 'r+');
    try {
      await promisify(fdatasync)(file);
    } catch (cause) {
      throw ioError(cause, this.#path);
    } finally {
      closeSync(file);
    }
    return epoch;
  }

  /** It was closed, and nothing was lost by it. */
  end(): void {
    this.#put({ open: false });
  }

  forget(): void {
    rmSync(this.#path, { force: true });
  }

  #put(changed: Partial<Fields>): void {
    const next = { ...this.#fields, ...changed, serial: this.#fields.serial + 1 };
    const slot = next.serial % 2;
    this.#use((file) => writeSync(file, encode(next), 0, SLOT_BYTES, slot * SLOT_BYTES));
    this.#fields = next;
  }

  #use(work: (file: number) => void): void {
    try {
      const file = openSync(this.#path, 'r+');
      try {
        work(file);
      } finally {
        closeSync(file);
      }
    } catch (cause) {
      throw ioError(cause, this.#path);
    }
  }
}
