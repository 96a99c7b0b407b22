/** Everything of an appliance behind its doors: memory, tiers, journal and regions. */
import { join } from 'node:path';
import { validate } from '../control/message.js';
import { regionBody } from '../control/schema.js';
import type { PagerHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { Catalog } from './catalog.js';
import { bootIdOfMachine, MemoryDirectory } from './memory-directory.js';
import type { ResolvedOptions } from './options.js';
import { Predecessor } from './predecessor.js';
import { makePrivateDirectory } from './private-directory.js';
import { RegionAccessUnit } from './region-access-unit.js';
import { SyncJournal } from './sync-journal.js';
import { Tiers } from './tiers.js';

export interface OpenRegions {
  readonly catalog: Catalog;
  readonly memory: MemoryDirectory | undefined;
  readonly predecessor: Predecessor;
  readonly tiers: Tiers;
  readonly pager: PagerHandle;
  readonly journal: SyncJournal;
  /** Where the appliance's own files of regions are. */
  readonly keepFolder: string;
  readonly unit: RegionAccessUnit;
}

/**
 * Opens them in order; whoever called has the state directory's lock. What `undo` gets takes all of
 * it back, the last step first. ERR_STATE_*, ERR_LOCKED_STATE, ERR_UNSUPPORTED, ERR_FILE_*,
 * ERR_REGION_EXISTS.
 */
export async function openRegions(
  settings: ResolvedOptions,
  undo: (() => unknown)[],
): Promise<OpenRegions> {
  const { root, allowedUrls, stateDirectory } = settings;
  const { memoryDirectory, bootId = bootIdOfMachine() } = settings;
  const catalog = Catalog.open(stateDirectory);
  const memory =
    memoryDirectory === undefined ? undefined : await MemoryDirectory.open(memoryDirectory, bootId);
  undo.push(() => memory?.[Symbol.asyncDispose]());
  const predecessor = await Predecessor.await(stateDirectory);
  let dropped = false;
  undo.push(() => {
    if (!predecessor.unclean && !dropped) predecessor.end();
  });
  const tiers = new Tiers(settings.tiers);
  undo.push(() => tiers.close());
  const pager = native().pagerOpen({ ...settings.pager, tiers: tiers.options });
  undo.push(() => native().pagerClose(pager));
  const journal = new SyncJournal(pager, stateDirectory);
  const keepFolder = join(stateDirectory, 'regions');
  makePrivateDirectory(keepFolder);
  const unit = new RegionAccessUnit({
    pager,
    catalog,
    root,
    allowedUrls,
    regionsMax: settings.quota.regionsMax,
    keepFolder,
    memory,
    journal,
  });
  undo.push(() => {
    // The last steps may fail with the doors open, and somebody may have written by then.
    dropped = unit.list().some((region) => region.persists && region.dirtyPages > 0);
    return unit.close();
  });
  for (const body of settings.regions) {
    await unit.serve(validate(regionBody, body, 'ERR_ARGUMENT'));
  }
  return { catalog, memory, predecessor, tiers, pager, journal, keepFolder, unit };
}
