/**
 * The control plane as one table: server, client and the OpenAPI document are all made from it,
 * so none of them can know a route that the others do not.
 */
import * as v from 'valibot';
import * as s from './schema.js';

export type Schema = v.GenericSchema<unknown, unknown>;

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Path with `:name` for parameters. */
  readonly path: string;
  readonly summary: string;
  readonly body?: Schema;
  readonly query?: Schema;
  readonly reply: Schema;
}

const REGION = '/v1/regions/:region';
const SESSION = '/v1/sessions/:session';

export const ROUTES = {
  start: {
    method: 'GET',
    path: '/v1/start',
    summary: 'What the appliance found when it started',
    reply: s.startReport,
  },
  health: { method: 'GET', path: '/healthz', summary: 'Tell that it lives', reply: s.health },
  openSession: {
    method: 'POST',
    path: '/v1/sessions',
    summary: 'Open a session: a protection domain and a ticket for the fabric',
    reply: s.session,
  },
  closeSession: {
    method: 'DELETE',
    path: SESSION,
    summary: 'Close a session; its STags and unnamed regions end with it',
    reply: s.closed,
  },
  openTicket: {
    method: 'POST',
    path: `${SESSION}/tickets`,
    summary: 'Take a fresh ticket for another connection to the fabric',
    reply: s.ticket,
  },
  attach: {
    method: 'POST',
    path: `${SESSION}/attachments`,
    summary: 'Attach a region: register its address with the session and learn the STag',
    body: s.attachBody,
    reply: s.attachment,
  },
  detach: {
    method: 'DELETE',
    path: `${SESSION}/attachments/:stag`,
    summary: 'Detach a region: its STag ends',
    reply: s.closed,
  },
  allocate: {
    method: 'POST',
    path: `${SESSION}/regions`,
    summary:
      'Make a region and attach it with the right to carve; unnamed, it ends with the session',
    body: s.regionBody,
    reply: s.attachment,
  },
  regions: { method: 'GET', path: '/v1/regions', summary: 'List regions', reply: s.regionList },
  create: {
    method: 'POST',
    path: '/v1/regions',
    summary: 'Make a named region that comes back after a restart',
    body: s.regionBody,
    reply: s.region,
  },
  stat: { method: 'GET', path: REGION, summary: 'Figures of one region', reply: s.region },
  remove: {
    method: 'DELETE',
    path: REGION,
    summary: 'Remove a region; its backing file stays',
    query: s.removeQuery,
    reply: s.removeReply,
  },
  sync: {
    method: 'POST',
    path: `${REGION}/sync`,
    summary: 'Write dirty pages to the store, if there is one, and make them durable',
    body: s.rangeBody,
    reply: s.receipt,
  },
  syncAll: {
    method: 'POST',
    path: '/v1/sync',
    summary: 'Sync several regions: the atomic ones as one transaction, then the others',
    body: s.groupBody,
    reply: s.receiptList,
  },
  flush: {
    method: 'POST',
    path: `${REGION}/flush`,
    summary: 'Write dirty pages to the store',
    body: s.rangeBody,
    reply: s.receipt,
  },
  reclaim: {
    method: 'POST',
    path: `${REGION}/reclaim`,
    summary: 'Give memory back: evict pages that nobody uses now',
    body: s.reclaimBody,
    reply: s.reclaimReply,
  },
  prefetch: {
    method: 'POST',
    path: `${REGION}/prefetch`,
    summary: 'Bring the pages of a range near in the background, or join whoever does',
    body: s.rangeBody,
    reply: s.prefetch,
  },
  prefetches: {
    method: 'GET',
    path: `${REGION}/prefetch`,
    summary: 'How far prefetches are: those under way and the last that ended',
    reply: s.prefetchList,
  },
  cancelPrefetch: {
    method: 'DELETE',
    path: `${REGION}/prefetch`,
    summary: 'End the prefetches under way; what they brought stays',
    reply: s.prefetchList,
  },
  detachSource: {
    method: 'POST',
    path: `${REGION}/detach`,
    summary: 'Let the source of a copy go, once no page needs it',
    reply: s.detached,
  },
  tiers: {
    method: 'GET',
    path: '/v1/tiers',
    summary: 'Figures of the tiers below memory',
    reply: s.tierList,
  },
  demote: {
    method: 'POST',
    path: `${REGION}/demote`,
    summary: 'Move pages out of memory: clean ones are evicted, dirty ones go into the tiers',
    body: s.demoteBody,
    reply: s.demoteReply,
  },
  promote: {
    method: 'POST',
    path: `${REGION}/promote`,
    summary: 'Bring pages back from the tiers as far as there is memory',
    body: s.rangeBody,
    reply: s.promoteReply,
  },
  invalidate: {
    method: 'POST',
    path: `${REGION}/invalidate`,
    summary: 'Make pages absent, so that the next touch fills them again',
    body: s.invalidateBody,
    reply: s.invalidateReply,
  },
  protection: {
    method: 'GET',
    path: `${REGION}/protection`,
    summary: 'List the ranges that permit less than the region does',
    reply: s.protection,
  },
  protect: {
    method: 'POST',
    path: `${REGION}/protection`,
    summary: 'Permit certain accesses to a range and no others',
    body: s.protectBody,
    reply: s.protection,
  },
  pins: {
    method: 'GET',
    path: `${REGION}/pins`,
    summary: 'List the ranges whose pages stay in memory',
    reply: s.pins,
  },
  pin: {
    method: 'POST',
    path: `${REGION}/pins`,
    summary: 'Keep the pages of a range in memory, and bring them near',
    body: s.pinBody,
    reply: s.pins,
  },
  unpin: {
    method: 'DELETE',
    path: `${REGION}/pins`,
    summary: 'Let the pages of a range go like others again',
    query: s.rangeQuery,
    reply: s.pins,
  },
  workingSet: {
    method: 'GET',
    path: `${REGION}/working-set`,
    summary: 'The pages that were recorded, to be brought near after a restart',
    reply: s.workingSet,
  },
  useWorkingSet: {
    method: 'POST',
    path: `${REGION}/working-set`,
    summary: 'Record the pages that are used, save them now, or bring them near',
    body: s.workingSetBody,
    reply: s.workingSet,
  },
  forgetWorkingSet: {
    method: 'DELETE',
    path: `${REGION}/working-set`,
    summary: 'Delete what was recorded',
    reply: s.workingSet,
  },
  receipt: {
    method: 'GET',
    path: `${REGION}/receipt`,
    summary: 'What the last start found: restored, kept in memory, filled, lost, in conflict',
    reply: s.restartReceipt,
  },
  receipts: {
    method: 'GET',
    path: '/v1/receipts',
    summary: 'The same of all regions',
    reply: s.restartReceiptList,
  },
  provenance: {
    method: 'GET',
    path: `${REGION}/provenance`,
    summary: 'Where the pages of a range are from, in runs',
    query: s.provenanceQuery,
    reply: s.provenance,
  },
  pages: {
    method: 'GET',
    path: `${REGION}/pages`,
    summary: 'A picture of the page table',
    query: s.pageMapQuery,
    reply: s.pageMap,
  },
  exports: {
    method: 'GET',
    path: `${REGION}/exports`,
    summary: 'List the ports that serve the region to any RDMA program',
    reply: s.exportList,
  },
  export: {
    method: 'POST',
    path: `${REGION}/exports`,
    summary: 'Serve the region to any RDMA program on a port of its own',
    body: s.exportBody,
    reply: s.exported,
  },
  unexport: {
    method: 'DELETE',
    path: `${REGION}/exports/:port`,
    summary: 'Close such a port',
    reply: s.closed,
  },
} as const satisfies Record<string, Route>;

const digits = v.pipe(v.string(), v.regex(/^\d{1,10}$/), v.transform(Number));

/** What the parameters of paths must look like. */
export const PARAMS = {
  region: s.regionName,
  session: s.secret,
  stag: digits,
  port: digits,
} as const;

/**
 * Header of a request about regions: the lineages of those that are meant, in order, where their
 * names alone may stand for others by now. ERR_REGION_REMOVED where they do.
 */
export const LINEAGE_HEADER = 'farpage-lineage';
/** A route whose reply stays open for as long as the session shall live. */
export const HOLD_PATH = `${SESSION}/hold`;

type Table = typeof ROUTES;
export type RouteName = keyof Table;
type ParamsOf<P extends string> = P extends `${string}:${infer N}/${infer R}`
  ? N | ParamsOf<R>
  : P extends `${string}:${infer N}`
    ? N
    : never;
type BodyOf<R> = R extends { body: infer S extends Schema } ? { body: S } : unknown;

type ParamName<K extends RouteName> = ParamsOf<Table[K]['path']> & keyof typeof PARAMS;

export type Params<K extends RouteName> = {
  [N in ParamName<K>]: v.InferOutput<(typeof PARAMS)[N]>;
};
export type Reply<K extends RouteName> = v.InferOutput<Table[K]['reply']>;
export type Sent<K extends RouteName> =
  BodyOf<Table[K]> extends { body: infer S extends Schema } ? v.InferInput<S> : undefined;
export type Received<K extends RouteName> =
  BodyOf<Table[K]> extends { body: infer S extends Schema } ? v.InferOutput<S> : undefined;
export type SentQuery<K extends RouteName> = Table[K] extends { query: infer S extends Schema }
  ? v.InferInput<S>
  : undefined;
export type ReceivedQuery<K extends RouteName> = Table[K] extends { query: infer S extends Schema }
  ? v.InferOutput<S>
  : undefined;
