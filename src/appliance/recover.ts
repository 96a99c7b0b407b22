/** Recovery without serving: what a killed appliance has committed reaches its files. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { FarpageError } from '../errors.js';
import type { RecoveredFile } from '../native/binding.js';
import { native } from '../native/load.js';
import { PAGE_BYTES } from '../units.js';
import { lockFolder } from './folder-lock.js';
import { defaultStateDirectory } from './options.js';
import { Predecessor } from './predecessor.js';
import { SyncJournal } from './sync-journal.js';

export interface Recovery {
  /** What was committed and not yet in its file, file by file. */
  readonly files: readonly RecoveredFile[];
  /** Pages that were forgotten, by file. */
  readonly abandoned: ReadonlyMap<string, number>;
}

/**
 * Applies the journal of a state directory. `abandon` names files whose part of a sync shall be
 * forgotten where it cannot be applied. ERR_LOCKED_STATE while an appliance runs there: it did this
 * when it started. ERR_ARGUMENT where there is no such directory, ERR_STATE_DAMAGED,
 * ERR_STATE_VERSION, ERR_NO_SPACE, ERR_IO.
 */
export async function recover(
  options: { stateDirectory?: string | undefined; abandon?: readonly string[] } = {},
): Promise<Recovery> {
  const { stateDirectory } = options;
  const state = stateDirectory === undefined ? defaultStateDirectory() : resolve(stateDirectory);
  if (!existsSync(state)) {
    const why = `there is no state directory ${state}; name that of the appliance with --state`;
    throw new FarpageError('ERR_ARGUMENT', why);
  }
  const lock = await lockFolder('state', state);
  if (lock === undefined) throw new FarpageError('ERR_LOCKED_STATE', state);
  try {
    const predecessor = await Predecessor.await(state);
    const pager = native().pagerOpen({
      memoryBytes: PAGE_BYTES,
      fillThreads: 1,
      readAheadBytes: 0,
    });
    try {
      const journal = new SyncJournal(pager, state);
      const waiting = new Set(journal.waiting);
      const abandoned = new Map<string, number>();
      for (const path of options.abandon ?? []) {
        if (waiting.has(path)) abandoned.set(path, journal.abandon(path));
      }
      return { files: journal.recovered, abandoned };
    } finally {
      native().pagerClose(pager);
      if (!predecessor.unclean) predecessor.end();
    }
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}
