/** How much one session, and the appliance as a whole, lends at most. */
import { FarpageError } from '../errors.js';

export interface Quota {
  /** Sessions at most. */
  readonly sessionsMax: number;
  /** Regions of the appliance at most. */
  readonly regionsMax: number;
  /** Regions that one session reserves at most, and their bytes together. */
  readonly sessionRegionsMax: number;
  readonly sessionBytesMax: number;
  /** Bytes of these that are allocated at most: charged when a region is first touched. */
  readonly sessionAllocatedBytesMax: number;
  /** Attachments and fabric connections of one session at most. */
  readonly attachmentsMax: number;
  readonly connectionsMax: number;
  /** Ports of `farpage export` at most. */
  readonly exportsMax: number;
}

export const QUOTA_DEFAULT: Quota = {
  sessionsMax: 256,
  regionsMax: 4096,
  sessionRegionsMax: 256,
  sessionBytesMax: 2 ** 46,
  sessionAllocatedBytesMax: Number.POSITIVE_INFINITY,
  attachmentsMax: 1024,
  connectionsMax: 64,
  exportsMax: 64,
};

/** Throws ERR_QUOTA, naming what is used up, unless `wanted` is within `max`. */
export function admit(what: keyof Quota, options: { wanted: number; max: number }): void {
  const { wanted, max } = options;
  if (wanted > max) throw new FarpageError('ERR_QUOTA', `${what} is ${max}`);
}
