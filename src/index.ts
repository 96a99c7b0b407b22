/** The library: `Appliance.open` lends memory, `connect` uses it. */
export { Appliance } from './appliance/appliance.js';
export type { SuppliedRegion } from './appliance/callback-record.js';
export type { Doors } from './appliance/doors.js';
export type { ApplianceOptions, HostPort } from './appliance/options.js';
export type { PageSpan, RegionSource } from './appliance/page-callbacks.js';
export type { Quota } from './appliance/quota.js';
export type { Spill } from './appliance/spill.js';
export type { TierSpec } from './appliance/tiers.js';
export {
  type AttachOptions,
  Client,
  type ConnectOptions,
  connect,
  type RemoveOptions,
} from './client/client.js';
export { type BlockingLimits, ExternalMemory } from './client/external-memory.js';
export {
  type DemoteOptions,
  ExternalPages,
  type InvalidateOptions,
  type PageMap,
  type PageMapOptions,
  type PinOptions,
  type PrefetchOptions,
  type RangeOptions,
  type ReclaimOptions,
} from './client/external-pages.js';
export { ExternalRegion } from './client/external-region.js';
export type { Limits } from './client/limits.js';
export { RegionWorkingSet } from './client/region-working-set.js';
export { Slab } from './client/slab.js';
export type { RegionOptions } from './control/region-options.js';
export type {
  Endpoints,
  Exported,
  InvalidateReply,
  PrefetchReply,
  ProvenanceRun,
  Receipt,
  RegionStat,
  RestartReceipt,
  StartReport,
  ToldError,
  WorkingSetReply,
} from './control/replies.js';
export type {
  DirtyRule,
  Permission,
  Pins,
  Protection,
  ReclaimRule,
  RegionBody,
} from './control/schema.js';
export {
  ERROR_TEXT,
  type ErrorCode,
  FabricError,
  FarpageError,
  isErrorCode,
  type RdmapError,
} from './errors.js';
export { QueuePair, type QueuePairOptions } from './fabric/queue-pair.js';
export type { Access, PinnedRange, RecoveredFile } from './native/binding.js';
export { formatSize, PAGE_BYTES, parseSize } from './units.js';
