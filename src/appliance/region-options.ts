/** What a region is made with. */
import type { AccountHandle, PagerHandle } from '../native/binding.js';
import type { FileClaims } from './file-claims.js';
import type { MemoryDirectory } from './memory-directory.js';
import type { PageCallbacks } from './page-callbacks.js';
import type { RegionRecord } from './record.js';
import type { Region } from './region.js';
import type { SyncJournal } from './sync-journal.js';

export interface RegionOptions {
  record: RegionRecord;
  pager: PagerHandle;
  claims: FileClaims;
  owner: string | undefined;
  /** The folder of the appliance's own files of regions that it keeps. */
  keepFolder: string;
  /** Where its memory outlives the process; what ends with its session needs none. */
  memory?: MemoryDirectory | undefined;
  /** Where its syncs go first, if they are atomic. */
  journal: SyncJournal;
  /** What the session that asked for it may allocate. */
  account?: AccountHandle | undefined;
  /** Who supplies its pages, asked each time it is opened; for sources that functions read. */
  supply?: () => PageCallbacks | undefined;
  /** Made just now: its kept file is not there yet. */
  fresh: boolean;
  /** What its record says has changed, and shall outlive the process. */
  keepSoon: (changed: Region) => void;
}
