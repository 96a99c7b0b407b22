/** What the appliance answers on the control plane, route by route, and to whom. */
import { randomBytes } from 'node:crypto';
import { basename, isAbsolute } from 'node:path';
import type { Door } from '../control/authorize.js';
import type { ControlService, Handlers } from '../control/handlers.js';
import type { Endpoints, RegionStat, StartReport, TierList } from '../control/schema.js';
import { ERROR_TEXT, FarpageError, isErrorCode } from '../errors.js';
import { PAGE_BYTES } from '../units.js';
import { receiptsOf, statsOf } from './all-stats.js';
import type { Exports } from './exports.js';
import type { Snapshot } from './metrics.js';
import type { Region } from './region.js';
import type { RegionAccessUnit } from './region-access-unit.js';
import { TICKET_MS } from './session.js';
import type { Sessions } from './sessions.js';

export interface ServiceParts {
  readonly unit: RegionAccessUnit;
  readonly sessions: Sessions;
  readonly exports: Exports;
  readonly version: string;
  readonly start: StartReport;
  /** Settles once every door is open. */
  readonly endpoints: Promise<Endpoints>;
  readonly snapshot: () => Promise<Snapshot>;
  readonly tiers: () => TierList;
}

function administratorOnly(door: Door, what: string): void {
  if (door === 'unix') return;
  throw new FarpageError('ERR_ACCESS', `${what} is for the Unix socket`);
}

/** What takes bytes or rights from everybody: at the TCP door of regions that were made there. */
function ownOnly({ record }: Region, { door, what }: { door: Door; what: string }): void {
  if (record.door === 'unix') administratorOnly(door, `${what} ${record.name}`);
}

/** Undefined while its file is gone: what needs the file will say so itself. */
function lineageAsFarAsKnown(region: Region): string | undefined {
  try {
    return region.lineage;
  } catch (error) {
    if (error instanceof FarpageError) return undefined;
    throw error;
  }
}

/** At the TCP door the name of an unnamed region is as good as a secret. */
function listedAt(door: Door): (region: Region) => boolean {
  return ({ owner }) => door === 'unix' || owner === undefined;
}

/** Figures as a door may tell them: where a file lies on this machine is the administrator's. */
function shownAt(door: Door, stat: RegionStat): RegionStat {
  const { file } = stat;
  if (door === 'unix' || file === undefined || !isAbsolute(file.path)) return stat;
  return { ...stat, file: { ...file, path: basename(file.path) } };
}

/** The same of tiers: paths of files and sockets, which messages name as well. */
function tiersAt(door: Door, list: TierList): TierList {
  if (door === 'unix') return list;
  const tiers = list.tiers.map(({ directory, pool, error, ...tier }) => ({
    ...tier,
    ...(directory !== undefined && { directory: basename(directory) }),
    ...(pool !== undefined && { pool: poolWithoutPath(pool) }),
    ...(error !== undefined && { error: { ...error, message: sentenceOf(error.code) } }),
  }));
  return { ...list, tiers };
}

/** `farpage+unix:/path/of/socket?region=r` without the path; any other URL as it is. */
function poolWithoutPath(pool: string): string {
  const [, path, query = ''] = /^farpage\+unix:([^?]*)(\?.*)?$/.exec(pool) ?? [];
  return path === undefined ? pool : `farpage+unix:${basename(path)}${query}`;
}

const sentenceOf = (code: string) => (isErrorCode(code) ? ERROR_TEXT[code] : code);

function regionHandlers({ unit, sessions, exports }: ServiceParts) {
  return {
    regions: async ({ door }) => {
      const shown = unit.list().filter(listedAt(door));
      const stats = await statsOf(shown);
      return {
        regions: shown.map((region, at) => ({
          ...shownAt(door, stats[at] ?? region.stat()),
          exports: exports.of(region),
        })),
      };
    },
    create: async ({ body, door }) => shownAt(door, (await unit.make(body, door)).stat()),
    stat: async ({ params, door }) => {
      const region = unit.find(params.region);
      return { ...shownAt(door, await region.statNow()), exports: exports.of(region) };
    },
    remove: async ({ params, query, door }) => {
      const region = unit.find(params.region);
      ownOnly(region, { door, what: 'removing' });
      await unit.remove(params.region, query.dirty);
      exports.closeAll(region);
      sessions.forget(region);
      return { region: params.region, removed: true };
    },
    sync: ({ params, body }) => unit.find(params.region).writeBack({ ...body, durable: true }),
    syncAll: async ({ body }) => {
      const { regions, ...range } = body;
      return { receipts: await unit.sync(regions, range) };
    },
    flush: ({ params, body }) => unit.find(params.region).writeBack({ ...body, durable: false }),
    detachSource: async ({ params, door }) => {
      const region = unit.find(params.region);
      if (region.record.door === 'unix') administratorOnly(door, `detaching ${params.region}`);
      await unit.detachSource(params.region);
      return { region: params.region, detached: true, pages: region.stat().pages.total };
    },
    receipts: async ({ door }) => ({
      receipts: await receiptsOf(unit.list().filter(listedAt(door))),
    }),
    receipt: ({ params }) => unit.find(params.region).restartReceipt(),
  } satisfies Partial<Handlers>;
}

/** Of ranges of a region. */
function rangeHandlers({ unit, sessions }: ServiceParts) {
  return {
    reclaim: async ({ params, body, door }) => {
      const region = unit.find(params.region);
      if (body.dirty === 'discard') ownOnly(region, { door, what: 'discarding in' });
      return await region.pages.reclaim(body);
    },
    invalidate: async ({ params, body, door }) => {
      const { carver, ...range } = body;
      const region = unit.find(params.region);
      if (carver !== undefined && range.dirty !== 'discard') {
        // A sync takes as long as its device pleases, and so long nobody else could carve.
        throw new FarpageError('ERR_ARGUMENT', 'a carver has turns to discard only');
      }
      const work = () => {
        const own = carver && sessions.find(carver.session).mayReplace(region, range);
        if (range.dirty === 'discard' && !own) ownOnly(region, { door, what: 'discarding in' });
        return unit.invalidate(params.region, range);
      };
      // In its turn also what is refused: after that answer no earlier request is done any more.
      return carver === undefined ? await work() : await region.carving.inTurn(carver, work);
    },
    protection: ({ params }) => unit.find(params.region).pages.protection(),
    protect: async ({ params, body, door }) => {
      ownOnly(unit.find(params.region), { door, what: 'protecting' });
      return await unit.protect(params.region, body);
    },
    pins: ({ params }) => unit.find(params.region).pages.pins(),
    pin: async ({ params, body, door }) => {
      ownOnly(unit.find(params.region), { door, what: 'pinning' });
      return await unit.pin(params.region, body);
    },
    unpin: async ({ params, query, door }) => {
      ownOnly(unit.find(params.region), { door, what: 'unpinning' });
      return await unit.unpin(params.region, query);
    },
    demote: async ({ params, body }) => {
      const demoted = await unit.find(params.region).pages.demote(body);
      return { region: params.region, ...demoted };
    },
    promote: async ({ params, body }) => {
      const pagesPromoted = await unit.find(params.region).pages.promote(body);
      return { region: params.region, pagesPromoted };
    },
    provenance: ({ params, query }) => unit.find(params.region).pages.provenance(query),
    pages: ({ params, query }) => {
      const { bounds, cells } = unit.find(params.region).pages.map(query);
      return { region: params.region, ...bounds, cells: Buffer.from(cells).toString('base64') };
    },
  } satisfies Partial<Handlers>;
}

/** Of what is brought near. */
function prefetchHandlers({ unit }: ServiceParts) {
  return {
    workingSet: ({ params }) => unit.find(params.region).workingSet.reply(),
    useWorkingSet: async ({ params, body, door }) => {
      const region = unit.find(params.region);
      if (body.action !== 'replay') ownOnly(region, { door, what: 'recording' });
      const { workingSet } = region;
      if (body.action === 'record') workingSet.record(region.open(), body.recordMs);
      else if (body.action === 'replay') workingSet.replay(region.open());
      else await workingSet.save(region.open());
      return workingSet.reply();
    },
    forgetWorkingSet: ({ params, door }) => {
      const region = unit.find(params.region);
      ownOnly(region, { door, what: 'forgetting' });
      const { workingSet } = region;
      workingSet.forget();
      return workingSet.reply();
    },
    prefetch: ({ params, body }) => unit.find(params.region).prefetch(body),
    prefetches: ({ params }) => ({ prefetches: unit.find(params.region).prefetches.list() }),
    cancelPrefetch: async ({ params }) => {
      const { prefetches } = unit.find(params.region);
      await prefetches.cancel();
      return { prefetches: prefetches.list() };
    },
  } satisfies Partial<Handlers>;
}

function exportHandlers({ unit, exports }: ServiceParts) {
  return {
    exports: ({ params }) => ({ exports: exports.of(unit.find(params.region)) }),
    export: async ({ params, body, door }) => {
      administratorOnly(door, 'export');
      return await exports.open(unit.find(params.region), body);
    },
    unexport: ({ params, door }) => {
      administratorOnly(door, 'export');
      exports.close(unit.find(params.region), params.port);
      return { closed: true };
    },
  } satisfies Partial<Handlers>;
}

function sessionHandlers({ unit, sessions, endpoints }: ServiceParts) {
  const start = randomBytes(16).toString('hex');
  return {
    openSession: async () => {
      const fabric = await endpoints;
      const session = sessions.open();
      return {
        session: session.id,
        start,
        ticket: session.ticket(),
        ticketMs: TICKET_MS,
        graceMs: sessions.graceMs,
        pageSize: PAGE_BYTES,
        fabric,
      };
    },
    closeSession: async ({ params }) => {
      await sessions.close(params.session);
      return { closed: true };
    },
    openTicket: ({ params }) => {
      return { ticket: sessions.find(params.session).ticket(), ticketMs: TICKET_MS };
    },
    attach: async ({ params, body }) => {
      const session = sessions.find(params.session);
      const region = unit.find(body.region);
      if (region.owner !== undefined && region.owner !== session.id) {
        throw new FarpageError('ERR_NO_SUCH_REGION', body.region);
      }
      const attached = await session.attach(region, body);
      await region.syncs.marked();
      return attached;
    },
    detach: ({ params }) => {
      sessions.find(params.session).detach(params.stag);
      return { closed: true };
    },
    allocate: async ({ params, body, door }) => {
      const origin = await unit.probe(body, door);
      const session = sessions.find(params.session);
      session.admitRegion(origin?.size ?? body.size ?? body.length ?? 0);
      // Before anything is made: a region that its maker cannot reach would stay.
      session.admitAttachment();
      const { id, account } = session;
      const region = unit.allocate(body, { door, session: id, account, origin });
      session.allocated.add(region);
      const carve = region.carving.isFreeFor(id);
      return await session.attach(region, { access: undefined, carve });
    },
  } satisfies Partial<Handlers>;
}

/** The service of one appliance. */
export function createService(parts: ServiceParts): ControlService {
  const started = performance.now();
  const handlers: Handlers = {
    health: () => ({
      status: 'ok',
      version: parts.version,
      pid: process.pid,
      uptimeMs: performance.now() - started,
    }),
    tiers: ({ door }) => tiersAt(door, parts.tiers()),
    start: ({ door }) => {
      administratorOnly(door, 'paths of kept files');
      return parts.start;
    },
    ...regionHandlers(parts),
    ...rangeHandlers(parts),
    ...prefetchHandlers(parts),
    ...exportHandlers(parts),
    ...sessionHandlers(parts),
  };
  return {
    handlers,
    hold: (session) => parts.sessions.find(session).hold(),
    means: (names, lineages) => {
      for (const [index, name] of names.entries()) {
        const lineage = lineageAsFarAsKnown(parts.unit.find(name));
        if (lineage === undefined || lineage === lineages[index]) continue;
        throw new FarpageError('ERR_REGION_REMOVED', `another region is called ${name} now`);
      }
    },
    metrics: async () => {
      const { renderMetrics } = await import('./metrics.js');
      return await renderMetrics(await parts.snapshot());
    },
  };
}
