/** The journal of atomic syncs in the state directory, made for the first region that needs it. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FarpageError } from '../errors.js';
import type { AtomicReceipt, PagerHandle, RecoveredFile, SyncMember } from '../native/binding.js';
import { native } from '../native/load.js';
import { fileFailure } from './durable-file.js';

/** What is damaged, and what can be done; the heads are at byte 0. */
function sentenceOf({ path, at }: { path: string; at: number }): string {
  const heads = `its heads cannot be read, so what it has committed is not known`;
  const what = at === 0 ? heads : `a committed sync is damaged at byte ${at}`;
  const files = at === 0 ? 'the files of atomic regions' : 'the files it names';
  const away = `then move it and ${basename(path)}.begun away`;
  const why = existsSync(path) ? what : 'it is missing, and it may have committed a sync';
  return `${path}: ${why}; nothing was written; restore ${files} from a backup, ${away}`;
}

export class SyncJournal {
  readonly path: string;
  /** What the start found committed, file by file. */
  recovered: readonly RecoveredFile[] = [];
  readonly #pager: PagerHandle;
  #open = false;

  /** Recovers what an earlier process has left. ERR_STATE_DAMAGED, ERR_STATE_VERSION, ERR_IO. */
  constructor(pager: PagerHandle, stateDirectory: string) {
    this.#pager = pager;
    this.path = join(stateDirectory, 'journal');
    if (this.#exists) this.ensure();
  }

  /** Opens it, or makes it. */
  ensure(): void {
    if (this.#open) return;
    try {
      const { damage, recovered } = native().pagerOpenJournal(this.#pager, { path: this.path });
      if (damage !== null) {
        throw new FarpageError('ERR_STATE_DAMAGED', sentenceOf(damage));
      }
      this.recovered = recovered;
      this.#open = true;
    } catch (cause) {
      if (!(cause instanceof FarpageError) || cause.message.includes(this.path)) throw cause;
      throw new FarpageError(cause.code, this.path, { cause });
    }
  }

  /** Files that a part of a committed sync waits for. */
  get waiting(): readonly string[] {
    return native().pagerJournalWaiting(this.#pager);
  }

  /** Forgets what waits for a file; how many pages that were. */
  abandon(path: string): number {
    return native().pagerJournalAbandon(this.#pager, { path });
  }

  /** Syncs ranges of atomic regions as one. */
  async sync(members: readonly SyncMember[]): Promise<AtomicReceipt> {
    return await native().pagerSyncAtomically(this.#pager, members);
  }

  get #exists(): boolean {
    if (existsSync(this.path)) return true;
    try {
      // Parts that wait for their file ("journal-part-1"), further segments ("journal-segment-1"),
      // and what says that one of these was there ("journal.begun").
      const other = basename(this.path);
      return readdirSync(dirname(this.path)).some((name) => name.startsWith(other));
    } catch (cause) {
      throw fileFailure(cause, this.path);
    }
  }
}
