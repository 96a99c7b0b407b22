/** Options of `farpage serve` that bound what sessions, and all of them together, are lent. */
import type { Command } from 'commander';
import { CONNECTIONS_MAX, QUOTA_DEFAULT, type Quota } from '../appliance/quota.js';
import { formatSize } from '../units.js';
import { integer, size } from './options.js';

export interface QuotaOptions {
  readonly sessions?: number;
  readonly regions?: number;
  readonly exports?: number;
  readonly connections?: number;
  readonly attachments?: number;
  readonly sessionRegions?: number;
  readonly sessionReserve?: number;
  readonly sessionAllocate?: number;
}

/** What a count may be at most: nothing that this process could hold is above it. */
const COUNT_MAX = 2 ** 20;

const count = integer(0, COUNT_MAX);
const bound = (text: string, max: number | string) => `${text} (default: ${max})`;

export function withQuotas(command: Command): Command {
  const {
    sessionsMax,
    regionsMax,
    exportsMax,
    attachmentsMax,
    connectionsMax,
    sessionRegionsMax,
    sessionBytesMax,
  } = QUOTA_DEFAULT;
  const reserved = formatSize(sessionBytesMax);
  return command
    .option('--sessions <n>', bound('clients at most', sessionsMax), count)
    .option('--regions <n>', bound('regions at most', regionsMax), count)
    .option('--exports <n>', bound('ports of `farpage export` at most', exportsMax), count)
    .option(
      '--connections <n>',
      bound('fabric connections of a session at most', connectionsMax),
      integer(1, CONNECTIONS_MAX),
    )
    .option(
      '--attachments <n>',
      bound('regions that a session has attached at most', attachmentsMax),
      count,
    )
    .option(
      '--session-regions <n>',
      bound('regions that a session makes at most', sessionRegionsMax),
      count,
    )
    .option('--session-reserve <size>', bound('their bytes together at most', reserved), size)
    .option(
      '--session-allocate <size>',
      'bytes of these that are allocated at most (default: no bound)',
      size,
    );
}

/** The quota that the options ask for; the defaults for the rest are the appliance's. */
export function quotaOf(options: QuotaOptions): Partial<Quota> {
  const given: Partial<Record<keyof Quota, number | undefined>> = {
    sessionsMax: options.sessions,
    regionsMax: options.regions,
    exportsMax: options.exports,
    connectionsMax: options.connections,
    attachmentsMax: options.attachments,
    sessionRegionsMax: options.sessionRegions,
    sessionBytesMax: options.sessionReserve,
    sessionAllocatedBytesMax: options.sessionAllocate,
  };
  return Object.fromEntries(Object.entries(given).filter(([, max]) => max !== undefined));
}
