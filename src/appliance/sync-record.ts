/** What a region knows of its own syncs over restarts: their count, and what a crash has taken. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fdatasync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { FarpageError } from '../errors.js';
import { fileFailure, syncFolder } from './durable-file.js';

/** Two slots, written in turn, so that a torn one leaves the other; a sector each. */
const SLOT_BYTES = 512;
const SUM_BYTES = 16;
const FIELDS = 5;
/** Those of a record that was written before lives were counted. */
const FIELDS_BEFORE = 4;

/** Numbers of one record. */
interface Fields {
  /** Grows by one with each record that is written: which slot is newer. */
  readonly serial: number;
  /** Durable syncs so far, and one more for each loss. */
  readonly epoch: number;
  /** The epoch whose later writes were lost last; -1 when none ever were. */
  readonly lost: number;
  readonly state: State;
  /**
   * Which memory of it, of those that outlive a process, is its own: grows with each process that
   * begins to use such memory, and with each that gives it to a writer without.
   */
  readonly life: number;
}

/** Of a region: the life that memory found again must be of, and the one that begins. */
export interface Lives {
  readonly life: number;
  readonly nextLife: number;
}

/**
 * Closed with all that was written in its store; open, or its process died; closed with some of
 * that in memory alone: the memory directory may have it; open, and nobody could write to it yet.
 */
type State = 'closed' | 'open' | 'in-memory' | 'unwritten';
/** By the number that stands for it in the file. */
const STATES: readonly State[] = ['closed', 'open', 'in-memory', 'unwritten'];

const NONE: Fields = { serial: 0, epoch: 0, lost: -1, state: 'closed', life: 0 };
/** What is known of one that cannot be read: its life is one that no memory is of. */
function damaged(): Fields {
  return { ...NONE, state: 'open', life: Date.now() };
}

function encode(fields: Fields): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  const { serial, epoch, lost, state, life } = fields;
  const numbers = [serial, epoch, lost, STATES.indexOf(state), life];
  for (const [index, number] of numbers.entries()) bytes.writeDoubleLE(number, index * 8);
  sumOf(bytes, FIELDS).copy(bytes, FIELDS * 8);
  return bytes;
}

function sumOf(bytes: Buffer, fields: number): Buffer {
  return createHash('sha256')
    .update(bytes.subarray(0, fields * 8))
    .digest()
    .subarray(0, SUM_BYTES);
}

function decode(bytes: Buffer): Fields | undefined {
  const fields = [FIELDS, FIELDS_BEFORE].find((count) =>
    bytes.subarray(count * 8, count * 8 + SUM_BYTES).equals(sumOf(bytes, count)),
  );
  if (fields === undefined) return undefined;
  const [serial = 0, epoch = 0, lost = -1, state = 0, life = 0] = Array.from(
    { length: fields },
    (_, index) => bytes.readDoubleLE(index * 8),
  );
  return { serial, epoch, lost, state: STATES[state] ?? 'open', life };
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
  /** How it was found; what is missing has been there. */
  readonly found: 'whole' | 'missing' | 'damaged';
  /** Its name in the folder is not durable yet. */
  #nameless: boolean;
  /** Settles when all that is on its way to the device has got there or failed; never rejects. */
  #hardening: Promise<unknown> = Promise.resolve();
  /** What was put last may not be on the device. */
  #volatile = false;

  private constructor(path: string, fields: Fields, found: SyncRecord['found'], named = true) {
    this.#path = path;
    this.fresh = fields === NONE;
    this.found = found;
    this.#nameless = !named;
    this.#fields = fields;
  }

  /**
   * Reads it, or begins one, and one that is damaged, or is missing though the region was `synced`,
   * begins anew, with everything lost and a new life.
   */
  static open(path: string, { synced = false } = {}): SyncRecord {
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
        if (found !== undefined) return new SyncRecord(path, found, 'whole');
        if (length > 0) return new SyncRecord(path, damaged(), 'damaged');
        writeSync(file, both, 0, both.length, 0);
        if (synced) return SyncRecord.missing(path);
        return new SyncRecord(path, NONE, 'whole', false);
      } finally {
        closeSync(file);
      }
    } catch (cause) {
      throw fileFailure(cause, path);
    }
  }

  /** One that has been there; makes no file. */
  static missing(path: string): SyncRecord {
    return new SyncRecord(path, damaged(), 'missing', false);
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
    return this.#fields.state === 'open' || this.#fields.state === 'unwritten';
  }

  /** Somebody may have written to it in that process. */
  get written(): boolean {
    return this.#fields.state !== 'unwritten';
  }

  /** It was closed while only memory had some of what was written. */
  get inMemory(): boolean {
    return this.#fields.state === 'in-memory';
  }

  /** Of memory that is found again. */
  get lives(): Lives {
    const { life } = this.#fields;
    return { life, nextLife: life + 1 };
  }

  /**
   * It is open from now on; `lost` says that what came after the last sync is gone, `renewed` that
   * it uses memory of its next life, `written` that this has what may be lost with it. That mark is
   * made durable behind the caller's back: see `settled`.
   */
  begin(options: { lost: boolean; renewed: boolean; written: boolean }): void {
    const { epoch, life } = this.#fields;
    this.#put({
      state: options.written ? 'open' : 'unwritten',
      ...(options.renewed && { life: life + 1 }),
      ...(options.lost && { lost: epoch, epoch: epoch + 1 }),
    });
    this.#harden().catch(() => {}); // Told by the first sync that needs it.
  }

  /**
   * It may be written from now on. With `disown` no memory that outlives the process will have
   * that: what such memory has now is old. Made durable by `settled`.
   */
  writable({ disown }: { disown: boolean }): void {
    if (this.written && !disown) return;
    this.#put({ state: 'open', ...(disown && { life: this.#fields.life + 1 }) });
  }

  /** One durable sync more; durable itself when the promise settles. ERR_IO, ERR_NO_SPACE. */
  async advance(): Promise<number> {
    this.#put({ epoch: this.#fields.epoch + 1 });
    const { epoch } = this.#fields;
    await this.#harden();
    return epoch;
  }

  /**
   * Settles once a power loss takes nothing of it any more: the mark that it is open, so that what
   * is written from now on and lost is known to be lost, and the count that another sync makes.
   * ERR_IO, ERR_NO_SPACE.
   */
  async settled(): Promise<void> {
    await this.#hardening;
    if (!this.#volatile) return;
    this.#put({}); // After a failed fdatasync the kernel no longer knows what to write.
    await this.#harden();
  }

  /** It was closed, and nothing was lost by it; `inMemory` as above. */
  end(options: { inMemory: boolean }): void {
    this.#put({ state: options.inMemory ? 'in-memory' : 'closed' });
  }

  forget(): void {
    rmSync(this.#path, { force: true });
  }

  #put(changed: Partial<Fields>): void {
    this.#volatile = true;
    const next = { ...this.#fields, ...changed, serial: this.#fields.serial + 1 };
    const slot = next.serial % 2;
    this.#use((file) => {
      const put = writeSync(file, encode(next), 0, SLOT_BYTES, slot * SLOT_BYTES);
      if (put !== SLOT_BYTES) throw new FarpageError('ERR_IO', `${this.#path}: ${put} bytes put`);
    });
    this.#fields = next;
  }

  async #harden(): Promise<void> {
    const { serial } = this.#fields;
    const done = this.#sync();
    this.#hardening = Promise.allSettled([this.#hardening, done]);
    await done;
    if (this.#fields.serial === serial) this.#volatile = false;
  }

  async #sync(): Promise<void> {
    try {
      const file = openSync(this.#path, 'r+');
      try {
        await promisify(fdatasync)(file);
      } finally {
        closeSync(file);
      }
      if (this.#nameless) syncFolder(dirname(this.#path));
      this.#nameless = false;
    } catch (cause) {
      throw fileFailure(cause, this.#path);
    }
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
      throw fileFailure(cause, this.#path);
    }
  }
}
