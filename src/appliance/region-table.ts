/** The regions of an appliance by name: made, found, and ended with whom they were made for. */
import { join } from 'node:path';
import type { RegionSpec } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { AccountHandle, PagerHandle } from '../native/binding.js';
import { pagesOf } from './elsewhere.js';
import { FileClaims } from './file-claims.js';
import { makingFiles } from './making-files.js';
import type { MemoryDirectory } from './memory-directory.js';
import type { PageCallbacks } from './page-callbacks.js';
import { admit } from './quota.js';
import type { RegionRecord } from './record.js';
import { Region } from './region.js';
import { differenceOf } from './same-region.js';
import type { SyncJournal } from './sync-journal.js';
import { savedSets } from './working-set-file.js';

/** The session that a region is made for, if any, and who supplies its pages, if functions do. */
interface Asker {
  readonly owner?: string | undefined;
  readonly account?: AccountHandle | undefined;
  readonly supply?: () => PageCallbacks;
}

/** What its regions are made with. */
export interface TableOptions {
  readonly pager: PagerHandle;
  readonly allowedUrls: readonly string[];
  readonly regionsMax: number;
  /** The folder of the appliance's own files of regions that it keeps. */
  readonly keepFolder: string;
  readonly memory?: MemoryDirectory | undefined;
  readonly journal: SyncJournal;
}

/** Knows nothing of catalogs: what comes back at the next start is for the access unit to say. */
export class RegionTable {
  readonly #options: TableOptions;
  readonly #claims = new FileClaims();
  readonly #regions = new Map<string, Region>();

  constructor(options: TableOptions) {
    this.#options = options;
  }

  /** All regions, by name. */
  list(): Region[] {
    return [...this.#regions.values()].sort((left, right) =>
      left.record.name < right.record.name ? -1 : 1,
    );
  }

  /** The region of a name; ERR_NO_SUCH_REGION. */
  find(name: string): Region {
    const region = this.#regions.get(name);
    if (region === undefined) throw new FarpageError('ERR_NO_SUCH_REGION', `${name}`);
    return region;
  }

  /** Whether a region elsewhere is one of these: of those whose file is gone none is. */
  has(identity: string): boolean {
    return this.list().some((region) => {
      try {
        return region.identity === identity;
      } catch {
        return false;
      }
    });
  }

  /**
   * Opens the regions whose working set was saved, as the names in the folder of their files tell:
   * it is brought near in the background.
   */
  warm(names: readonly string[]): void {
    const sets = savedSets(names);
    for (const region of this.#regions.values()) {
      if (!sets.has(region.record.id) || !region.workingSet.isSaved) continue;
      try {
        region.open();
      } catch {} // It tells why it is unavailable.
    }
  }

  /** Takes back what a session had a right to carve: once its STags lead nowhere. */
  endCarving(session: string): void {
    for (const region of this.#regions.values()) region.carving.take(session);
  }

  /** Ends the unnamed regions of a session. */
  async release(session: string): Promise<void> {
    const closing: Promise<void>[] = [];
    for (const region of this.#regions.values()) {
      if (region.owner !== session) continue;
      this.#regions.delete(region.record.name);
      closing.push(region.close());
    }
    await Promise.all(closing);
  }

  /** Closes every region; what is dirty is dropped. Idempotent. */
  async close(): Promise<void> {
    const regions = [...this.#regions.values()];
    this.#regions.clear();
    await Promise.all(regions.map((region) => region.close()));
  }

  /** What is known of a region has changed, and shall outlive the process. */
  protected keepSoon(_region: Region): void {}

  /** Some region has this name. */
  protected isTaken(name: string): boolean {
    return this.#regions.has(name);
  }

  /** This very region still has its name. */
  protected holds(region: Region): boolean {
    return this.#regions.get(region.record.name) === region;
  }

  /** The region of this name, if it is what was asked for in every point that was given. */
  protected same(record: RegionRecord, spec: RegionSpec): Region | undefined {
    const { name } = record;
    const found = this.#regions.get(name);
    if (found === undefined) return undefined;
    const differs = differenceOf(found.record, record, spec);
    if (differs !== undefined) throw new FarpageError('ERR_REGION_EXISTS', `${name}, ${differs}`);
    if (record.source.kind !== 'anonymous') found.open();
    return found;
  }

  /** Adds a region that is opened when somebody first uses it. */
  protected reserve(record: RegionRecord, asker: Asker & { fresh: boolean }): Region {
    const { pager, allowedUrls, keepFolder, memory, journal } = this.#options;
    const region = new Region({
      record,
      owner: asker.owner,
      account: asker.account,
      fresh: asker.fresh,
      pager,
      claims: this.#claims,
      keepFolder,
      memory,
      supply: asker.supply ?? (() => pagesOf(record, allowedUrls)),
      journal,
      keepSoon: (changed) => this.keepSoon(changed),
    });
    this.#regions.set(record.name, region);
    return region;
  }

  /** Adds a region made just now, opened where that may fail. ERR_QUOTA, ERR_FILE_*. */
  protected add(record: RegionRecord, asker: Asker = {}): Region {
    const { regionsMax, keepFolder, memory } = this.#options;
    admit('regionsMax', { wanted: this.#regions.size + 1, max: regionsMax });
    const region = this.reserve(record, { ...asker, fresh: true });
    // Without a file there is nothing that could be wrong with it.
    if (record.source.kind === 'anonymous' && !record.source.persist) return region;
    const { id } = record;
    const files = [join(keepFolder, `${id}.pages`), ...(memory?.filesOf(id) ?? [])];
    try {
      makingFiles(files, () => region.open());
      return region;
    } catch (error) {
      this.take(region);
      throw error;
    }
  }

  /** Takes a region out, if it is still in; it is the caller's to close. */
  protected take(region: Region): void {
    if (this.holds(region)) this.#regions.delete(region.record.name);
  }

  /** Ends a region that was made just now, with its files. */
  protected drop(region: Region): void {
    this.take(region);
    void region.close().then(() => region.forget());
  }
}
