/** How much one session, and the appliance as a whole, lends at most. */
import { checkObject } from '../control/given-options.js';
import { FarpageError } from '../errors.js';

/** Bounds of the appliance and of each of its sessions: beyond them ERR_QUOTA, which names one. */
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

/** Connections of the NIC at most, of all sessions together. */
export const CONNECTIONS_MAX = 1024;

/**
 * The quota, with the defaults for what is not given. ERR_ARGUMENT for a name that is none, and for
 * values other than whole numbers from 0 and Infinity.
 */
export function resolveQuota(given: Partial<Quota> = {}): Quota {
  checkObject('a quota', given);
  const known = Object.entries(given).filter(([, max]) => max !== undefined);
  for (const [name, max] of known) {
    if (!Object.hasOwn(QUOTA_DEFAULT, name)) {
      throw new FarpageError('ERR_ARGUMENT', `a quota has no ${name}`);
    }
    if (max === Number.POSITIVE_INFINITY || (Number.isSafeInteger(max) && max >= 0)) continue;
    throw new FarpageError('ERR_ARGUMENT', `${name} must be 0 or more, not ${String(max)}`);
  }
  const quota: Quota = { ...QUOTA_DEFAULT, ...Object.fromEntries(known) };
  return { ...quota, connectionsMax: Math.min(quota.connectionsMax, CONNECTIONS_MAX) };
}

/** Throws ERR_QUOTA, naming what is used up, unless `wanted` is within `max`. */
export function admit(what: keyof Quota, options: { wanted: number; max: number }): void {
  const { wanted, max } = options;
  if (wanted > max) throw new FarpageError('ERR_QUOTA', `${what} is ${max}`);
}
