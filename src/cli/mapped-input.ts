/**
 * A local file to be read in pieces: mapped by mmap-io where that is right, read by position
 * elsewhere, which takes a third more of the processor. The one guard around mmap-io, which casts
 * sizes and offsets to 32 bits and returns wrong bytes at 4 GiB without an error: windows of at
 * most 1 GiB that end at 2 GiB or before.
 */
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { FarpageError } from '../errors.js';
import { floorToPage } from '../units.js';

export const WINDOW_BYTES = 2 ** 30;
export const MAPPED_END = 2 ** 31;
/** So much behind a piece stays resident: as much again, and it is given back. */
const RESIDENT_BYTES = 16 * 2 ** 20;
/** Shorter pieces are copied by user code, where a file cut meanwhile would be a SIGBUS. */
const MAPPED_PIECE_BYTES_MIN = 64 * 1024;

interface Window {
  readonly index: number;
  readonly bytes: Buffer;
  /** Where that begins which may be resident. */
  resident: number;
}

type MmapIo = typeof import('mmap-io').default;

/** mmap-io, or undefined where it was not installed: it is optional. */
async function loadMmapIo(): Promise<MmapIo | undefined> {
  try {
    // It is CommonJS that says __esModule: its types have one `default` more than Node gives it.
    return (await import('mmap-io')).default as unknown as MmapIo;
  } catch {
    return undefined;
  }
}

/** Why a local file did not open. */
export function openError(error: unknown, path: string): FarpageError {
  const { code } = error as NodeJS.ErrnoException;
  const known = code === 'ENOENT' || code === 'ENOTDIR' ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_ACCESS';
  return new FarpageError(known, path, { cause: error });
}

export class MappedInput implements AsyncDisposable {
  readonly size: number;
  readonly #file: FileHandle;
  readonly #path: string;
  #mmapIo: MmapIo | undefined;
  #window: Window | undefined;

  private constructor(options: {
    file: FileHandle;
    path: string;
    size: number;
    mmapIo: MmapIo | undefined;
  }) {
    this.#file = options.file;
    this.#path = options.path;
    this.size = options.size;
    this.#mmapIo = options.mmapIo;
  }

  /** Opens a regular file; ERR_FILE_NOT_FOUND, ERR_FILE_ACCESS, ERR_FILE_KIND. */
  static async open(path: string): Promise<MappedInput> {
    let file: FileHandle;
    try {
      file = await open(path, 'r');
    } catch (error) {
      throw openError(error, path);
    }
    const found = await file.stat();
    if (!found.isFile()) {
      await file.close();
      throw new FarpageError('ERR_FILE_KIND', path);
    }
    const mapped = found.size >= MAPPED_PIECE_BYTES_MIN;
    const mmapIo = mapped ? await loadMmapIo() : undefined;
    return new MappedInput({ file, path, size: found.size, mmapIo });
  }

  /** mmap-io is there and gives what it can. */
  get isMapped(): boolean {
    return this.#mmapIo !== undefined;
  }

  /**
   * The bytes of a range within the file. They stay as they are until the file changes; what lies
   * in a mapping belongs to nobody and must not be written. Who reads in order has some 33 MiB
   * resident at most, however long the file is. ERR_FILE_CHANGED when it was cut.
   */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const window = length < MAPPED_PIECE_BYTES_MIN ? undefined : this.#windowOf(offset, length);
    if (window !== undefined) {
      const begin = offset % WINDOW_BYTES;
      this.#giveBack(window, begin - RESIDENT_BYTES);
      return window.bytes.subarray(begin, begin + length);
    }
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#file.read(bytes, done, length - done, offset + done);
      if (bytesRead === 0) throw new FarpageError('ERR_FILE_CHANGED', this.#path);
      done += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    this.#window = undefined;
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The window that holds all of a range, or undefined where mmap-io must not be used. */
  #windowOf(offset: number, length: number): Window | undefined {
    const mmapIo = this.#mmapIo;
    const index = Math.floor(offset / WINDOW_BYTES);
    const inOne = Math.floor((offset + length - 1) / WINDOW_BYTES) === index;
    const begin = index * WINDOW_BYTES;
    const end = Math.min(begin + WINDOW_BYTES, this.size);
    if (mmapIo === undefined || !inOne || end > MAPPED_END) return undefined;
    if (this.#window?.index !== index) {
      const { PROT_READ, MAP_SHARED, MADV_SEQUENTIAL, MADV_DONTNEED } = mmapIo;
      const { fd } = this.#file;
      try {
        const bytes = mmapIo.map(end - begin, PROT_READ, MAP_SHARED, fd, begin, MADV_SEQUENTIAL);
        // The garbage collector unmaps the one before, some time.
        if (this.#window !== undefined) mmapIo.advise(this.#window.bytes, MADV_DONTNEED);
        this.#window = { index, bytes, resident: 0 };
      } catch {
        // A file system that cannot map, or no address space left: reading by position still works.
        this.#mmapIo = undefined;
        return undefined;
      }
    }
    return this.#window;
  }

  /**
   * Gives the pages of a window up to `end` back, once they are many. Who reads them still, or
   * again, finds them in the page cache.
   */
  #giveBack(window: Window, end: number): void {
    const length = floorToPage(end - window.resident);
    if (this.#mmapIo === undefined || length < RESIDENT_BYTES) return;
    this.#mmapIo.advise(window.bytes, window.resident, length, this.#mmapIo.MADV_DONTNEED);
    window.resident += length;
  }
}
