/** The region access unit: reserves, allocates, finds, attaches and frees regions. */
import { createHash, randomBytes } from 'node:crypto';
import type { Door } from '../control/authorize.js';
import { isGivenName } from '../control/region-name.js';
import type {
  DirtyRule,
  InvalidateReply,
  Permission,
  Pins,
  Protection,
  Receipt,
  RegionSpec,
} from '../control/schema.js';
import { isWebUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';
import type { AccountHandle, PagerHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { callbackRecord } from './callback-record.js';
import type { Catalog } from './catalog.js';
import { probe } from './elsewhere.js';
import { syncTogether } from './group-sync.js';
import { PageCallbacks, type RegionSource } from './page-callbacks.js';
import type { Range } from './range.js';
import { type Found, nameOfFile, type RegionRecord, toRecord } from './record.js';
import type { Region } from './region.js';
import { RegionTable, type TableOptions } from './region-table.js';
import { resolveFile } from './root.js';
import { ServedRanges } from './served-ranges.js';
import type { SyncJournal } from './sync-journal.js';

const UNNAMED_BYTES = 6;
/** The catalog is written once for all regions whose first sync ends within this time. */
const KEEP_SOON_MS = 100;

function servedId({ name, source }: RegionRecord): string {
  // Not by its size: memory of a file that was cut or has grown is found, and is a conflict.
  const what = JSON.stringify([name, source]);
  return createHash('sha256').update(what).digest('hex').slice(0, 32);
}

/** All regions of an appliance, who may make which, and what comes back at the next start. */
export class RegionAccessUnit extends RegionTable {
  readonly #pager: PagerHandle;
  readonly #catalog: Catalog;
  readonly #root: string | undefined;
  readonly #allowedUrls: readonly string[];
  /** Memory outlives the process, of files too. */
  readonly #staged: boolean;
  readonly #journal: SyncJournal;
  readonly #servedRanges: ServedRanges;
  /** What the catalog does not say of them yet. */
  readonly #changed = new Set<Region>();
  #keeping: NodeJS.Timeout | undefined;

  constructor(options: TableOptions & { catalog: Catalog; root: string | undefined }) {
    super(options);
    this.#pager = options.pager;
    this.#catalog = options.catalog;
    this.#root = options.root;
    this.#allowedUrls = options.allowedUrls;
    this.#staged = options.memory !== undefined;
    this.#journal = options.journal;
    this.#servedRanges = new ServedRanges(options.keepFolder);
    // Only reserved: each is opened when somebody first uses it.
    for (const record of options.catalog.regions) this.reserve(record, { fresh: false });
  }

  /**
   * Makes a named region that the catalog keeps, or finds the one that is already what was asked
   * for. ERR_REGION_EXISTS when the name stands for something else, or what was given differs.
   */
  create(
    spec: RegionSpec,
    door: Door,
    options: { origin?: Found | undefined; account?: AccountHandle } = {},
  ): Region {
    const record = this.#record(spec, door, options.origin);
    const found = this.same(record, spec);
    const region = found ?? this.add(record, { account: options.account });
    try {
      this.#catalog.put(region.record);
      this.#servedRanges.forget(region.record);
    } catch (error) {
      if (found === undefined) this.drop(region);
      throw error;
    }
    return region;
  }

  /** The same for any region: the source of a copy is asked what it is before. As `probe` fails. */
  async make(spec: RegionSpec, door: Door): Promise<Region> {
    return this.create(spec, door, { origin: await this.probe(spec, door) });
  }

  /**
   * Asks a source elsewhere what it is; nothing for other regions. ERR_URL_NOT_ALLOWED,
   * ERR_NO_APPLIANCE, ERR_NO_SUCH_REGION, ERR_TOKEN, ERR_TIMEOUT, ERR_CONNECTION, and of files
   * behind HTTP(S) ERR_FILE_*, ERR_SOURCE_AWAY, ERR_UNSUPPORTED, ERR_PROTOCOL.
   */
  async probe(spec: RegionSpec, door: Door): Promise<Found | undefined> {
    return await probe(spec, { door, allowed: this.#allowedUrls });
  }

  /**
   * Makes a region whose pages functions supply, for as long as this process lives; its catalog
   * cannot keep it. ERR_REGION_EXISTS, ERR_NAME, ERR_ARGUMENT.
   */
  supply(spec: RegionSpec, source: RegionSource): Region {
    const { name = '' } = spec;
    const record = callbackRecord(spec, source);
    if (this.isTaken(name)) throw new FarpageError('ERR_REGION_EXISTS', name);
    return this.add(record, { supply: () => new PageCallbacks(source) });
  }

  /**
   * Lets the source of a copy go: what is dirty is synced, and the catalog says so before the
   * region does. ERR_SOURCE_NEEDED while any page is at the source only. Idempotent.
   */
  async detachSource(name: string): Promise<void> {
    const region = this.find(name);
    const record = await region.detachable();
    if (!this.holds(region)) throw new FarpageError('ERR_NO_SUCH_REGION', name);
    this.#catalog.put(record);
    region.detachSource(record);
  }

  /** Makes a region for as long as this process lives: those of `serve`'s command line. */
  async serve(spec: RegionSpec): Promise<Region> {
    const origin = await probe(spec, { door: 'unix', allowed: this.#allowedUrls });
    // The same file under the same name is the same region at every start, though no catalog says
    // so: its memory and its count of syncs are found again by this.
    const asked = this.#record(spec, 'unix', origin);
    const record = { ...asked, id: servedId(asked) };
    return this.same(record, spec) ?? this.add(this.#servedRanges.restore(record));
  }

  /** What allocations of one session are charged to, beside the appliance's bound. */
  account(bytesMax: number): AccountHandle {
    return native().accountOpen(this.#pager, { bytesMax });
  }

  /** Makes a region for a session: a named one outlives it, an unnamed one ends with it. */
  allocate(
    spec: RegionSpec,
    options: {
      door: Door;
      session: string;
      account: AccountHandle;
      origin?: Found | undefined;
    },
  ): Region {
    const { account, origin } = options;
    if (spec.name !== undefined) {
      return this.create(spec, options.door, { account, origin });
    }
    if (spec.persist) throw new FarpageError('ERR_NAME', 'what persists needs a name');
    const name = `@${randomBytes(UNNAMED_BYTES).toString('hex')}`;
    const record = toRecord(spec, {
      name,
      door: options.door,
      path: this.#path(spec, options.door),
      origin,
    });
    return this.add(record, { owner: options.session, account });
  }

  /** Syncs regions: the atomic ones of them as one transaction, then the others. */
  async sync(names: readonly string[], range: Range): Promise<Receipt[]> {
    const regions = names.map((name) => this.find(name));
    return await syncTogether(this.#journal, regions, range);
  }

  /**
   * Permits these accesses to a range and no others, over restarts too unless the region ends with
   * its session or process; when it settles, no operation that this forbids is under way or can
   * begin. They end with ERR_ACCESS. ERR_NO_SUCH_REGION, ERR_RANGE, ERR_ALIGNMENT, ERR_QUOTA;
   * ERR_REGION_BUSY after 20 s of a discard of who carves the region.
   */
  async protect(name: string, range: Range & { access: Permission }): Promise<Protection> {
    const region = this.find(name);
    // A discard looks once, when it begins, at what is protected.
    const protection = await region.carving.betweenTurns(() => region.pages.protect(range));
    this.#keepRanges(region);
    return protection;
  }

  /**
   * Keeps the pages of a range in memory once they are there, over restarts too as `protect`
   * does: no eviction takes them, nor a demotion or a reclaim. They are brought near in
   * the background, unless `lazy`, as far as there is free memory. ERR_NO_SUCH_REGION, ERR_RANGE;
   * ERR_QUOTA beyond half of the memory, half of the region's own bound, or 1,024 ranges.
   */
  async pin(name: string, { lazy, ...range }: Range & { lazy: boolean }): Promise<Pins> {
    const region = this.find(name);
    const pins = await region.pages.pin(range);
    this.#keepRanges(region);
    try {
      if (!lazy) region.prefetch(range);
    } catch {} // So many are under way: what is absent comes when it is touched.
    return pins;
  }

  /** Lets the pages of a range go like others again. ERR_NO_SUCH_REGION, ERR_RANGE, ERR_QUOTA. */
  async unpin(name: string, range: Range): Promise<Pins> {
    const region = this.find(name);
    const pins = await region.pages.unpin(range);
    this.#keepRanges(region);
    return pins;
  }

  /**
   * Makes the pages of a range absent: the NIC takes them for uninitialised, and the next touch
   * fills them again. ERR_NO_SUCH_REGION, ERR_RANGE, ERR_ALIGNMENT, ERR_REGION_DIRTY,
   * ERR_REGION_BUSY.
   */
  async invalidate(name: string, range: Range & { dirty: DirtyRule }): Promise<InvalidateReply> {
    return await this.find(name).pages.invalidate(range);
  }

  /**
   * Removes a region and ends its users' operations; its file stays. ERR_REGION_DIRTY when it has
   * dirty pages and `dirty` does not say what shall become of them.
   */
  async remove(name: string, dirty: DirtyRule): Promise<void> {
    const region = this.find(name);
    // What it pulled and has not kept yet is dirty, but nobody's to decide on.
    await region.prefetches.cancel();
    if (dirty === 'sync' && region.dirtyPages > 0) {
      await region.writeBack({ offset: 0, durable: true });
    }
    if (dirty !== 'discard' && region.dirtyPages > 0) {
      throw new FarpageError('ERR_REGION_DIRTY', `${name} has ${region.dirtyPages}`);
    }
    if (!this.holds(region)) throw new FarpageError('ERR_NO_SUCH_REGION', name);
    this.#catalog.remove(name);
    this.take(region);
    await region.close();
    region.forget();
    this.#servedRanges.forget(region.record);
    this.#catalog.restock();
  }

  protected override keepSoon(region: Region): void {
    this.#changed.add(region);
    this.#keeping ??= setTimeout(() => this.#keepChanged(), KEEP_SOON_MS).unref();
  }

  #keepChanged(): void {
    clearTimeout(this.#keeping);
    this.#keeping = undefined;
    const changed = [...this.#changed].filter((region) => this.holds(region));
    try {
      this.#catalog.updateAll(changed.map(({ record }) => record));
      this.#changed.clear();
    } catch {} // The next one that changes tries it again.
  }

  /** Closes every region; what is dirty is dropped. Idempotent. */
  override async close(): Promise<void> {
    this.#keepChanged();
    await super.close();
  }

  /** A start finds what of a region is protected and pinned, unless it was removed meanwhile. */
  #keepRanges(region: Region): void {
    if (!this.holds(region)) return;
    this.#catalog.update(region.record);
    this.#servedRanges.update(region.record);
  }

  #path(spec: RegionSpec, door: Door): string | undefined {
    const { file, make } = spec;
    if (file === undefined || isWebUrl(file)) return undefined;
    return resolveFile(file, { door, root: this.#root, make });
  }

  #record(spec: RegionSpec, door: Door, origin?: Found): RegionRecord {
    const path = this.#path(spec, door);
    const { name = spec.file && nameOfFile(spec.file) } = spec;
    if (name === undefined) throw new FarpageError('ERR_NAME', 'this region needs a name');
    if (!isGivenName(name)) throw new FarpageError('ERR_NAME', `"${name}"`);
    return toRecord(spec, { path, name, door, origin, staged: this.#staged });
  }
}
