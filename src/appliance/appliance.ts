/** The appliance: owns pager, NIC, regions, sessions and doors, and ends them in order. */
import { readdirSync, rmSync } from 'node:fs';
import { ControlServer } from '../control/http-server.js';
import { checkSocketPath, isLive } from '../control/listen.js';
import { validate } from '../control/message.js';
import { type RegionOptions, regionBodyOf } from '../control/region-options.js';
import {
  type DirtyRule,
  type Endpoints,
  type Exported,
  exportBody,
  type InvalidateReply,
  invalidateOptions,
  type Permission,
  type Pins,
  type Protection,
  pinBody,
  protectBody,
  type RegionStat,
  rangeBody,
  regionBody,
  type StartReport,
} from '../control/schema.js';
import { packageVersion } from '../control/version.js';
import { FarpageError } from '../errors.js';
import { Nic } from '../fabric/nic.js';
import type { Access, PagerHandle, RecoveredFile } from '../native/binding.js';
import { native } from '../native/load.js';
import { formatCount } from '../units.js';
import { statsOf } from './all-stats.js';
import type { SuppliedRegion } from './callback-record.js';
import { type Doors, openDoors } from './doors.js';
import { Exports } from './exports.js';
import { lockFolder } from './folder-lock.js';
import { adoptFound } from './found-memory.js';
import type { MemoryDirectory } from './memory-directory.js';
import { openRegions } from './open-regions.js';
import { type ApplianceOptions, type ResolvedOptions, resolveOptions } from './options.js';
import type { Predecessor } from './predecessor.js';
import type { Region } from './region.js';
import type { RegionAccessUnit } from './region-access-unit.js';
import { createService } from './service.js';
import { Sessions } from './sessions.js';
import type { Spill } from './spill.js';
import { startReportOf } from './start-report.js';
import type { Tiers } from './tiers.js';

/** Reads of a source end within their deadline of 5 s. */
const PREFETCH_MS = 6000;
/** Runs of dirty pages that an error names at most. */
const RUNS_NAMED_MAX = 8;

/**
 * An appliance in this process, until `close`, which whoever opens it must call: it keeps the
 * process alive, installs no handler of signals, and a process that dies without it loses what no
 * sync has written. Regions by name; sizes, offsets and lengths in bytes.
 */
export class Appliance implements AsyncDisposable {
  /** What was found at the start, before anybody touched a region. */
  readonly start: StartReport;
  readonly doors: Doors;
  readonly #unit: RegionAccessUnit;
  readonly #sessions: Sessions;
  readonly #exports: Exports;
  readonly #server: ControlServer;
  readonly #nic: Nic;
  readonly #pager: PagerHandle;
  readonly #tiers: Tiers;
  readonly #lock: AsyncDisposable;
  readonly #memory: MemoryDirectory | undefined;
  readonly #predecessor: Predecessor;
  /** What the start found committed and not yet in its file. */
  readonly recovered: readonly RecoveredFile[];
  /** Where dirty pages go by default; undefined where tiers were named, or none was wanted. */
  readonly spill: Spill | undefined;
  #closing: Promise<string[]> | undefined;

  private constructor(parts: {
    start: StartReport;
    doors: Doors;
    unit: RegionAccessUnit;
    sessions: Sessions;
    exports: Exports;
    server: ControlServer;
    nic: Nic;
    pager: PagerHandle;
    tiers: Tiers;
    lock: AsyncDisposable;
    memory: MemoryDirectory | undefined;
    predecessor: Predecessor;
    recovered: readonly RecoveredFile[];
    spill: Spill | undefined;
  }) {
    this.start = parts.start;
    this.doors = parts.doors;
    this.#unit = parts.unit;
    this.#sessions = parts.sessions;
    this.#exports = parts.exports;
    this.#server = parts.server;
    this.#nic = parts.nic;
    this.#pager = parts.pager;
    this.#tiers = parts.tiers;
    this.#lock = parts.lock;
    this.#memory = parts.memory;
    this.#predecessor = parts.predecessor;
    this.recovered = parts.recovered;
    this.spill = parts.spill;
  }

  /**
   * Opens an appliance: regions of the catalog and of `options.regions`, then the doors. Errors:
   * ERR_LOCKED_STATE, ERR_APPLIANCE_RUNNING, ERR_ADDRESS_IN_USE, ERR_SOCKET_PATH, ERR_FILE_*,
   * ERR_REGION_EXISTS, ERR_NATIVE_MISSING and those of the options.
   */
  static async open(options: ApplianceOptions = {}): Promise<Appliance> {
    const settings = resolveOptions(options);
    checkSocketPath(`${settings.socket}.fabric`);
    const lock = await lockFolder('state', settings.stateDirectory);
    if (lock === undefined) {
      // The same command given twice: name the socket, which its user knows, when it is live.
      if (await isLive(settings.socket)) {
        throw new FarpageError('ERR_APPLIANCE_RUNNING', settings.socket);
      }
      throw new FarpageError('ERR_LOCKED_STATE', settings.stateDirectory);
    }
    const undo: (() => unknown)[] = [() => lock[Symbol.asyncDispose]()];
    try {
      return await Appliance.#assemble(settings, { lock, undo });
    } catch (error) {
      for (const step of undo.reverse()) await step();
      throw error;
    }
  }

  static async #assemble(
    settings: ResolvedOptions,
    { lock, undo }: { lock: AsyncDisposable; undo: (() => unknown)[] },
  ): Promise<Appliance> {
    const { quota, sessionGraceMs: graceMs } = settings;
    const regions = await openRegions(settings, undo);
    const { catalog, memory, predecessor, tiers, pager, journal, keepFolder, unit } = regions;
    const { unclean } = predecessor;
    const names = readdirSync(keepFolder);
    const removed = () => catalog.removed();
    const found = { unclean, regions: unit.list(), keepFolder, names, memory, removed };
    const start = startReportOf(found);
    const nic = Nic.open(pager, settings.nic);
    undo.push(() => nic.close());
    const sessions = new Sessions({ nic, unit, quota, graceMs });
    undo.push(() => sessions.closeAll());
    const exports = new Exports({ nic, quota });
    let open: (endpoints: Endpoints) => void = () => {};
    const endpoints = new Promise<Endpoints>((resolve) => {
      open = resolve;
    });
    const service = createService({
      unit,
      sessions,
      exports,
      version: packageVersion(),
      start,
      endpoints,
      tiers: () => tiers.list(pager),
      snapshot: async () => ({
        nic: nic.stats(),
        pager: native().pagerStats(pager),
        sessions: sessions.count,
        regions: await statsOf(unit.list()),
      }),
    });
    const server = new ControlServer({
      service,
      sessionsMax: quota.sessionsMax,
      token: settings.token,
    });
    undo.push(() => server.close());
    const doors = await openDoors(settings, { server, nic });
    open(doors.fabric);
    unit.warm(names);
    void adoptFound(unit.list());
    // After the doors: a tier that leads to this very appliance is found out.
    await tiers.start(pager, (identity) => unit.has(identity));
    return new Appliance({
      start,
      doors,
      unit,
      sessions,
      exports,
      server,
      nic,
      pager,
      tiers,
      lock,
      memory,
      predecessor,
      recovered: journal.recovered,
      spill: settings.spill,
    });
  }

  /**
   * Makes a named region as the administrator; a source elsewhere is asked what it is before. It
   * comes back after a restart, but for one with a `source`, whose functions end with this process:
   * make it again under its name. Errors: those of the route, and of this and all that follows
   * ERR_CLOSED after `close`.
   */
  async create(wanted: RegionOptions | SuppliedRegion): Promise<RegionStat> {
    const body = regionBodyOf(wanted);
    if ('source' in wanted) {
      const { source, ...rest } = { source: wanted.source, ...body };
      const spec = validate(regionBody, rest, 'ERR_ARGUMENT');
      return this.#open.supply(spec, source).stat();
    }
    return (await this.#open.make(validate(regionBody, body, 'ERR_ARGUMENT'), 'unix')).stat();
  }

  /**
   * Permits `access` to a range of a region and nothing else: operations that this forbids end
   * with ERR_ACCESS, and none is under way any more when it settles. All such ranges then.
   */
  async protect(
    name: string,
    options: { access: Permission; offset?: number; length?: number },
  ): Promise<Protection> {
    return await this.#open.protect(name, validate(protectBody, options, 'ERR_ARGUMENT'));
  }

  /**
   * Keeps the pages of a range in memory once they are there, and brings them near unless `lazy`.
   * All such ranges then. ERR_QUOTA beyond half of the memory.
   */
  async pin(
    name: string,
    options: { offset?: number; length?: number; lazy?: boolean } = {},
  ): Promise<Pins> {
    return await this.#open.pin(name, validate(pinBody, options, 'ERR_ARGUMENT'));
  }

  /** Lets the pages of a range go like others again; the ranges that still stay. */
  async unpin(name: string, options: { offset?: number; length?: number } = {}): Promise<Pins> {
    return await this.#open.unpin(name, validate(rangeBody, options, 'ERR_ARGUMENT'));
  }

  /**
   * Makes the pages of a range absent: the next touch fills them again. Dirty ones are refused
   * unless `dirty` says what shall become of them.
   */
  async invalidate(
    name: string,
    options: { offset?: number; length?: number; dirty?: DirtyRule } = {},
  ): Promise<InvalidateReply> {
    return await this.#open.invalidate(name, validate(invalidateOptions, options, 'ERR_ARGUMENT'));
  }

  /**
   * Serves a region to any RDMA program on a TCP port of its own, without a ticket: on loopback
   * unless `host` says otherwise, read-only unless `access` does. ERR_NO_SUCH_REGION,
   * ERR_ADDRESS_IN_USE, ERR_ACCESS, ERR_QUOTA.
   */
  async export(
    name: string,
    options: { host?: string; port?: number; access?: Access } = {},
  ): Promise<Exported> {
    const wanted = validate(exportBody, options, 'ERR_ARGUMENT');
    return await this.#exports.open(this.#open.find(name), wanted);
  }

  /** The ports that serve a region, or any. ERR_NO_SUCH_REGION. */
  exports(name?: string): Exported[] {
    const regions = name === undefined ? this.#open.list() : [this.#open.find(name)];
    return regions.flatMap((region) => this.#exports.of(region));
  }

  /** Closes such a port and the connections on it. ERR_NO_SUCH_REGION, ERR_ARGUMENT. */
  unexport(name: string, port: number): void {
    this.#exports.close(this.#open.find(name), port);
  }

  /** The names of all regions, in order: some 10 us less for each than its figures. */
  get regionNames(): string[] {
    return this.#open.list().map(({ record }) => record.name);
  }

  /** Figures of all regions, by name. */
  regions(): RegionStat[] {
    return this.#open.list().map((region) => region.stat());
  }

  /**
   * Ends every session and connection, then syncs what is dirty (unless told not to) and closes
   * the regions. Throws the first failure's code with the pages that are lost by it, but only
   * after everything is closed. Settles with a sentence for each region that cannot be opened, and
   * whose dirty pages stay in the memory directory where an earlier process has left them: a start
   * finds them there. Idempotent.
   */
  close(options: { sync?: boolean } = {}): Promise<string[]> {
    this.#closing ??= this.#close(options.sync ?? true);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The regions, as long as nobody closes them: another process may have the state after that. */
  get #open(): RegionAccessUnit {
    if (this.#closing !== undefined) throw new FarpageError('ERR_CLOSED', 'appliance');
    return this.#unit;
  }

  async #close(sync: boolean): Promise<string[]> {
    await this.#server.close();
    await this.#sessions.closeAll();
    for (const region of this.#unit.list()) this.#exports.closeAll(region);
    // From here on nothing can become dirty any more.
    this.#nic.close();
    // What a prefetch brings after the sync would be dropped as dirty.
    await Promise.all(this.#unit.list().map(({ prefetches }) => prefetches.cancel(PREFETCH_MS)));
    const lost: FarpageError[] = [];
    const unsynced = this.#unit
      .list()
      .filter(({ persists, dirtyPages }) => persists && dirtyPages > 0);
    // One that cannot be opened would take others down with it that are atomic.
    const left = sync ? unsynced.filter((region) => region.leftIn && !region.adopt()) : [];
    const stays = left.map(staying);
    const dirty = unsynced.filter((region) => !left.includes(region));
    // What is atomic is one transaction at the end as well.
    const atomic = dirty.filter(({ record }) => record.atomic);
    const groups = [atomic, ...dirty.filter(({ record }) => !record.atomic).map((one) => [one])];
    for (const group of sync ? groups : []) {
      const names = group.map(({ record }) => record.name);
      await this.#unit.sync(names, { offset: 0 }).catch((cause: unknown) => {
        lost.push(...group.map((region) => unwritten(region, cause)));
      });
    }
    await this.#unit.close();
    // No region has pages in them any more, and the pools may forget what they hold.
    await this.#tiers.close();
    native().pagerClose(this.#pager);
    rmSync(`${this.doors.socket}.fabric`, { force: true });
    if (lost.length === 0) this.#predecessor.end();
    await this.#memory?.[Symbol.asyncDispose]();
    await this.#lock[Symbol.asyncDispose]();
    const [first, ...rest] = lost;
    if (first === undefined) return stays;
    if (rest.length === 0) throw first;
    const cause = new AggregateError(lost);
    throw new FarpageError(first.code, lost.map(({ message }) => message).join('; '), { cause });
  }
}

/** What is told at the end of a region that cannot be opened, and why it cannot. */
function staying(region: Region): string {
  const { record, dirtyPages, leftIn } = region;
  const why = region.stat().error?.message ?? 'it is not open';
  const pages = `${formatCount(dirtyPages, 'page')} of ${record.name}`;
  return `${pages} not written, kept in ${leftIn}: ${why}`;
}

/** The error of a region whose dirty pages could not be written, with where they are. */
function unwritten(region: Region, cause: unknown): FarpageError {
  const runs = region.pages
    .dirtyRuns(RUNS_NAMED_MAX)
    .map(([offset, length]) => `${offset}+${length}`);
  const { dirtyPages, record } = region;
  const were = dirtyPages === 1 ? 'was' : 'were';
  const pages = `${formatCount(dirtyPages, 'page')} of ${record.name} ${were} not written`;
  const code = cause instanceof FarpageError ? cause.code : 'ERR_IO';
  return new FarpageError(code, `${pages} (offset+length ${runs.join(', ')})`, { cause });
}
