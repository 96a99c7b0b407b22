/** Where the bytes of a region are kept, and for how long. */
import { rmSync, statSync } from 'node:fs';
import { FarpageError } from '../errors.js';
import type { FoundPages, MemoryDirectory as NativeMemory } from '../native/binding.js';
import { ceilToPage } from '../units.js';
import type { MemoryDirectory } from './memory-directory.js';
import { isCopy, isKept, persists, type RegionRecord } from './record.js';
import type { Lives } from './sync-record.js';

/**
 * A region is in a file of the user's, in one of the appliance's own, in memory files that outlive
 * the process, or nowhere but in memory that ends with it. What ends with its session is in no file
 * of the appliance's, whatever its record says.
 */
export class RegionKeeping {
  readonly #record: () => RegionRecord;
  readonly #owned: boolean;
  readonly #folder: string;
  readonly #memory: MemoryDirectory | undefined;

  constructor(options: {
    record: () => RegionRecord;
    /** It ends with a session. */
    owned: boolean;
    /** The folder of the appliance's own files of regions that it keeps. */
    folder: string;
    /** Where memory outlives the process. */
    memory: MemoryDirectory | undefined;
  }) {
    this.#record = options.record;
    this.#owned = options.owned;
    this.#folder = options.folder;
    this.#memory = options.owned ? undefined : options.memory;
  }

  /** The appliance's own file of it; empty where it is kept nowhere. */
  get path(): string {
    return this.#owned ? '' : this.fileOf('pages');
  }

  /** A file of the appliance's about the region. */
  fileOf(what: 'pages' | 'set' | 'sync' | 'carving'): string {
    // Put together by hand: of a thousand regions `join` takes 5 ms of a start.
    return `${this.#folder}/${this.#record().id}.${what}`;
  }

  /**
   * Looks whether the appliance's own file of it is there and whole, which otherwise only the first
   * touch would tell. ERR_FILE_NOT_FOUND, ERR_FILE_CHANGED.
   */
  look(): void {
    const record = this.#record();
    if (this.#owned || !isKept(record)) return;
    const found = statSync(this.path, { throwIfNoEntry: false });
    const file = `${this.path}, where ${record.name} is kept`;
    if (found === undefined) throw new FarpageError('ERR_FILE_NOT_FOUND', file);
    const size = ceilToPage(record.size);
    if (found.size === size) return;
    throw new FarpageError('ERR_FILE_CHANGED', `${file}, has ${found.size} bytes, not ${size}`);
  }

  /** Opening it would find nothing: it is only reserved, without memory, its own file whole. */
  get isSilent(): boolean {
    if (!this.reserves || this.usesMemory) return false;
    try {
      this.look();
      return true;
    } catch {
      return false;
    }
  }

  /** What is written to it outlives the process once it is synced: it has a file. */
  get persists(): boolean {
    const record = this.#record();
    return persists(record) && (!this.#owned || 'path' in record.source);
  }

  /** What stands for it in an error: the file that it is in, if any. */
  get place(): string {
    const { name, source } = this.#record();
    if ('path' in source) return source.path;
    return isKept(this.#record()) && !this.#owned ? this.path : name;
  }

  /** Its memory is in files that the next process finds. */
  get usesMemory(): boolean {
    const { source, atomic = false } = this.#record();
    if (source.kind === 'mapped' || source.kind === 'callback') return false;
    return this.#memory !== undefined && !(atomic && isCopy(source));
  }

  /** The memory files of one of its lives, if there are any. */
  memoryOf(of: { lives: Lives; chargedPages: number }): NativeMemory | undefined {
    return this.usesMemory ? this.#memory?.of(this.#record().id, of) : undefined;
  }

  /** Pages of memory that it has in such files now. */
  get memoryPages(): number {
    return this.usesMemory ? (this.#memory?.pagesOf(this.#record().id) ?? 0) : 0;
  }

  /** What is in these, as long as nobody has opened them. */
  get memoryFound(): FoundPages {
    const none = { present: 0, dirty: 0 };
    return this.usesMemory ? (this.#memory?.found(this.#record().id) ?? none) : none;
  }

  /** Why it can have no further page in them, if that is so. */
  get crowded(): FarpageError | undefined {
    if (!this.usesMemory || this.#memory?.isFull !== true) return undefined;
    return new FarpageError('ERR_NO_SPACE', this.memoryPlace);
  }

  /** What stands for the directory of these files in a sentence. */
  get memoryPlace(): string {
    return `${this.#memory?.path}, the memory directory`;
  }

  /** What is in it is there after a restart. */
  get outlives(): boolean {
    const { source } = this.#record();
    if (this.#owned || source.kind === 'callback') return false;
    return source.kind !== 'anonymous' || source.persist || this.usesMemory;
  }

  /** Something of its syncs is to be known over restarts. */
  get isRecorded(): boolean {
    const { source, access } = this.#record();
    return !this.#owned && access !== 'read-only' && source.kind !== 'callback';
  }

  /** Nothing is taken for it until a client touches it; memory that was found again is taken. */
  get reserves(): boolean {
    const { source, id, reserve = source.kind === 'anonymous' } = this.#record();
    return reserve && !(this.usesMemory && this.#memory?.has(id));
  }

  /** Deletes the appliance's own files of its pages. A user's file stays. */
  forget(): void {
    const record = this.#record();
    if (isKept(record)) rmSync(this.fileOf('pages'), { force: true });
    this.#memory?.forget(record.id);
  }
}
