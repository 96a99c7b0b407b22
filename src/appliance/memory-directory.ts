/** The directory on a tmpfs where memory and page tables of regions outlive the process. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { join } from 'node:path';
import { existingPart } from '../control/make-directories.js';
import { FarpageError } from '../errors.js';
import type { FoundPages, MemoryDirectory as NativeDirectory } from '../native/binding.js';
import { native } from '../native/load.js';
import { PAGE_BYTES } from '../units.js';
import { lockFolder } from './folder-lock.js';
import { makePrivateDirectory } from './private-directory.js';
import type { Lives } from './sync-record.js';

/** `f_type` of a tmpfs (statfs(2)). */
const TMPFS_MAGIC = 0x01021994;
/** The unit of st_blocks, whatever the file system's own is (stat(3type)). */
const BLOCK_BYTES = 512;
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';

/** What tells this start of the machine from any other. */
export function bootIdOfMachine(): string {
  return readFileSync(BOOT_ID_PATH, 'utf8').trim();
}

/**
 * ERR_UNSUPPORTED for a directory that is not on a tmpfs, or would not be if it were made:
 * elsewhere memory would be written to a device behind our back, and would come back after a reboot
 * as if it were current.
 */
export function checkMemoryDirectory(path: string): void {
  if (statfsSync(existingPart(path)).type === TMPFS_MAGIC) return;
  throw new FarpageError('ERR_UNSUPPORTED', `${path} is not on a tmpfs, as /dev/shm is`);
}

export class MemoryDirectory implements AsyncDisposable {
  readonly path: string;
  readonly #bootId: string;
  readonly #lock: AsyncDisposable;

  private constructor(path: string, options: { bootId: string; lock: AsyncDisposable }) {
    this.path = path;
    this.#bootId = options.bootId;
    this.#lock = options.lock;
  }

  /**
   * Makes the directory unless it is there, and keeps other appliances out of it.
   * ERR_LOCKED_STATE, ERR_IO, and as `checkMemoryDirectory` does.
   */
  static async open(directory: string, bootId: string): Promise<MemoryDirectory> {
    checkMemoryDirectory(directory);
    makePrivateDirectory(directory);
    const path = realpathSync(directory);
    const lock = await lockFolder('memory', path);
    if (lock === undefined) throw new FarpageError('ERR_LOCKED_STATE', path);
    return new MemoryDirectory(path, { bootId, lock });
  }

  /** Where the memory of one region is, of which so many pages count as taken already. */
  of(id: string, { lives, chargedPages }: { lives: Lives; chargedPages: number }): NativeDirectory {
    return { directory: this.path, id, bootId: this.#bootId, ...lives, chargedPages };
  }

  /** The files of one region: its memory and its page table. */
  filesOf(id: string): [memory: string, table: string] {
    return [join(this.path, `${id}.memory`), join(this.path, `${id}.table`)];
  }

  /** Whether a region was allocated here by this process or one before. */
  has(id: string): boolean {
    return existsSync(this.filesOf(id)[0]);
  }

  /** Pages of memory that a region takes here: a tmpfs knows that exactly. */
  pagesOf(id: string): number {
    // Put together by hand: of a thousand regions `join` takes 5 ms of a start.
    const found = statSync(`${this.path}/${id}.memory`, { throwIfNoEntry: false });
    return Math.ceil(((found?.blocks ?? 0) * BLOCK_BYTES) / PAGE_BYTES);
  }

  /** What lies here of a region that is not open. */
  found(id: string): FoundPages {
    return native().memoryFound({ directory: this.path, id, bootId: this.#bootId });
  }

  /**
   * No region can have another page here. One that somebody has removed is not full: the regions
   * that have their memory mapped go on.
   */
  get isFull(): boolean {
    try {
      const { blocks, bavail } = statfsSync(this.path);
      // A tmpfs without a bound has no blocks at all (tmpfs(5), size=0).
      return blocks !== 0 && bavail === 0;
    } catch {
      return false;
    }
  }

  /**
   * Deletes what one region has here, conflicts that were set aside among it. Its pages are given
   * back now, and not when the last descriptor is closed: JavaScript may hold its handle for long.
   * Requires: nobody has its memory mapped.
   */
  forget(id: string): void {
    const [memory] = this.filesOf(id);
    if (existsSync(memory)) truncateSync(memory);
    if (!existsSync(this.path)) return; // Somebody has removed it with all that was here.
    for (const name of readdirSync(this.path)) {
      if (name.startsWith(`${id}.`)) rmSync(join(this.path, name), { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock[Symbol.asyncDispose]();
  }
}
