/** The file of `--output`: what it has is given up for the first new byte, and not before. */
import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { systemReason } from '../control/system-reason.js';
import { FarpageError } from '../errors.js';
import { native } from '../native/load.js';

type Opened = readonly [file: FileHandle, made: boolean];

/** One that is there is neither cut nor replaced: it keeps its owner, mode and links. */
async function openAny(path: string): Promise<Opened> {
  try {
    return [await open(path, 'wx'), true];
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    // O_CREAT for a symbolic link to a file that is not there.
    return [await open(path, constants.O_WRONLY | constants.O_CREAT), false];
  }
}

export class OutputFile implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #path: string;
  /** Made by this: it goes again if nothing comes. */
  readonly #made: boolean;
  /** Not a pipe or device. */
  readonly #regular: boolean;
  #begun = false;
  #closed = false;
  #bytes = 0;

  private constructor(options: {
    file: FileHandle;
    path: string;
    made: boolean;
    regular: boolean;
  }) {
    this.#file = options.file;
    this.#path = options.path;
    this.#made = options.made;
    this.#regular = options.regular;
  }

  /**
   * Opens or makes it; `from` tells the file that the bytes are of, as far as it is known.
   * ERR_FILE_ACCESS, ERR_ARGUMENT where it is that file, ERR_FILE_LOCKED where somebody has locked
   * it, as an appliance does with what it serves to writers.
   */
  static async open(path: string, from: () => Promise<string | undefined>): Promise<OutputFile> {
    const opened = await openAny(path).catch((cause) => {
      throw new FarpageError('ERR_FILE_ACCESS', `${path}: ${systemReason(cause)}`, { cause });
    });
    const [file, made] = opened;
    try {
      const found = await file.stat({ bigint: true });
      const regular = found.isFile();
      if (regular && !made) {
        const source = await from();
        const other = source && (await stat(source, { bigint: true }).catch(() => undefined));
        if (other && other.dev === found.dev && other.ino === found.ino) {
          const what = `${path} is the file that is read, and would be cut`;
          throw new FarpageError('ERR_ARGUMENT', `${what}; name another one`);
        }
        if (native().fileLocked(file.fd)) throw new FarpageError('ERR_FILE_LOCKED', path);
      }
      return new OutputFile({ file, path, made, regular });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Writes the next bytes. ERR_IO. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.#begin();
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#file
        .write(bytes, done, bytes.byteLength - done)
        .catch((cause) => {
          const why = `--output took not all of it: ${systemReason(cause)}`;
          throw new FarpageError('ERR_IO', why, { cause });
        });
      done += bytesWritten;
      this.#bytes += bytesWritten;
    }
  }

  /** Everything was written, be it nothing. ERR_IO, also for what shows only now (close(2)). */
  async finish(): Promise<void> {
    await this.#begin();
    await this.#file.close().catch((cause) => {
      throw new FarpageError('ERR_IO', `${this.#path}: ${systemReason(cause)}`, { cause });
    });
    this.#closed = true;
  }

  /** What a failure has left of it; nothing to say of one that is as it was. */
  get remains(): string | undefined {
    if (!this.#begun || !this.#regular) return undefined;
    return `${this.#path} has the first ${this.#bytes} bytes only`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.#file.close().catch(() => {}); // What failed before is told.
    if (this.#made && !this.#begun) await rm(this.#path, { force: true });
  }

  async #begin(): Promise<void> {
    if (this.#begun) return;
    if (this.#regular) {
      await this.#file.truncate(0).catch((cause) => {
        throw new FarpageError('ERR_IO', `${this.#path}: ${systemReason(cause)}`, { cause });
      });
    }
    this.#begun = true;
  }
}
