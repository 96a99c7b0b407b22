/** What an appliance is opened with, and the defaults. */
import { availableParallelism, homedir, totalmem } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { CONTROL_PORT, defaultSocketPath, parseHostPort } from '../control/address.js';
import { isLoopback } from '../control/authorize.js';
import { checkObject, nameOf } from '../control/given-options.js';
import { type RegionOptions, regionBodyOf } from '../control/region-options.js';
import type { RegionBody } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { NicOptions, PagerOptions } from '../native/binding.js';
import { floorToPage, PAGE_BYTES, parseSize } from '../units.js';
import { checkPrefixes } from './allowed-urls.js';
import { checkMemoryDirectory } from './memory-directory.js';
import { makePrivateDirectory } from './private-directory.js';
import { CONNECTIONS_MAX, type Quota, resolveQuota } from './quota.js';
import { resolveRoot } from './root.js';
import { type Spill, spillIn } from './spill.js';
import { checkTiers, makeTierDirectories, type TierSpec } from './tiers.js';
import { keepToken, readToken } from './token.js';

/** Where to listen: a name or an address, and a port, of which 0 picks a free one. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** What an appliance may be told; each of it has a default. Sizes are bytes or texts as `4GiB`. */
export interface ApplianceOptions {
  /** Path of the control socket; by default `$XDG_RUNTIME_DIR/farpage.sock` or a private one. */
  readonly socket?: string | undefined;
  /** Also serves the control plane on TCP, `HOST:PORT`; port 0 picks one, 7433 is the default. */
  readonly listen?: HostPort | string | undefined;
  /** Serves the fabric on TCP; by default on the host of `listen` and a free port. */
  readonly fabric?: HostPort | string | undefined;
  /** Where the catalog and the token are kept; by default below `$XDG_STATE_HOME`. */
  readonly stateDirectory?: string | undefined;
  /** A directory on a tmpfs where memory outlives the process, so that a crash loses nothing. */
  readonly memoryDirectory?: string | undefined;
  /**
   * What tells one start of the machine from another; by default the kernel's
   * /proc/sys/kernel/random/boot_id. For systems that carry memory over a start, or hide that file.
   */
  readonly bootId?: string | undefined;
  /** The directory that TCP clients may name files in; none by default. */
  readonly root?: string | undefined;
  /** What the URLs that TCP clients may name begin with; none by default. */
  readonly allowUrl?: readonly string[] | undefined;
  /** File with the token that TCP clients must show. */
  readonly tokenFile?: string | undefined;
  /** Bound on present pages over all regions; by default half of the available memory. */
  readonly memory?: number | string | undefined;
  /**
   * Bytes of allocated regions at most, as a multiple of `memory`: 1 promises no more than there
   * is, Infinity (the default) leaves it to those who touch. A region that would go beyond is
   * refused when it is first touched, with ERR_QUOTA.
   */
  readonly overcommit?: number | undefined;
  /**
   * Where dirty pages go when memory is short, the nearest to memory first: `compressed:SIZE`,
   * `file:DIRECTORY:SIZE`, or the URL of a region at another appliance, perhaps with `:SIZE` behind
   * it. By default a file without a name in the state directory, of 16 times the memory at most,
   * and no more than half of what is free there; `none` alone, or no element: they stay in memory
   * until somebody syncs.
   */
  readonly tiers?: readonly (TierSpec | string)[] | undefined;
  /** Holds the token for the appliances of tiers that do not name one of their own. */
  readonly tierTokenFile?: string | undefined;
  /** Files to serve from the start, for as long as this appliance lives. */
  readonly regions?: readonly RegionOptions[] | undefined;
  /** How long a session outlives its control connection; 10 s. */
  readonly sessionGraceMs?: number | undefined;
  /** Bounds on what sessions take, and all of them together; each has a default. */
  readonly quota?: Partial<Quota> | undefined;
  /** Event loops of the NIC; 1. */
  readonly nicThreads?: number | undefined;
  /** How long an event loop polls after activity; 50 µs, 0 where there is one core only. */
  readonly pollUs?: number | undefined;
  /** Threads for blocking reads of stores; 16. */
  readonly fillThreads?: number | undefined;
  /** Read-ahead window of a sequential stream; 256 KiB, 0 turns it off. */
  readonly readAhead?: number | string | undefined;
  /** How finely it is known when pages were used; 30 s, and up to 3,000 times that. */
  readonly ageTickMs?: number | undefined;
}

/** Their names, and what each takes. */
const OPTIONS: Readonly<Record<keyof ApplianceOptions, keyof typeof KINDS>> = {
  socket: 'text',
  listen: 'endpoint',
  fabric: 'endpoint',
  stateDirectory: 'text',
  memoryDirectory: 'text',
  bootId: 'text',
  root: 'text',
  allowUrl: 'list',
  tokenFile: 'text',
  memory: 'size',
  overcommit: 'number',
  tiers: 'list',
  tierTokenFile: 'text',
  regions: 'list',
  sessionGraceMs: 'number',
  quota: 'object',
  nicThreads: 'number',
  pollUs: 'number',
  fillThreads: 'number',
  readAhead: 'size',
  ageTickMs: 'number',
};

export interface ResolvedOptions {
  readonly socket: string;
  readonly listen: HostPort | undefined;
  readonly fabric: HostPort | undefined;
  readonly stateDirectory: string;
  readonly memoryDirectory: string | undefined;
  readonly bootId: string | undefined;
  readonly root: string | undefined;
  readonly allowedUrls: readonly string[];
  readonly token: string | undefined;
  /** Where a token that was not given is kept. */
  readonly tokenPath: string | undefined;
  readonly regions: readonly RegionBody[];
  readonly sessionGraceMs: number;
  readonly quota: Quota;
  readonly nic: NicOptions;
  readonly tiers: readonly TierSpec[];
  /** Where dirty pages go by default; none where tiers were named, or refused. */
  readonly spill: Spill | undefined;
  readonly pager: PagerOptions;
}

export const GRACE_MS = 10_000;
export const POLL_US = 50;
export const FILL_THREADS = 16;
export const READ_AHEAD_BYTES = 256 * 1024;
export const AGE_TICK_MS = 30_000;

/** Memory of this machine, or what its cgroup may have of it. */
export function memoryOfMachine(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** Half of the smaller of available memory and cgroup limit, in whole pages. */
export function defaultMemoryBytes(): number {
  const limit = process.constrainedMemory();
  const available = process.availableMemory();
  const bound = limit > 0 ? Math.min(limit, available) : available;
  return Math.max(floorToPage(Math.floor(bound / 2)), PAGE_BYTES);
}

/** `$XDG_STATE_HOME/farpage`, else `~/.local/state/farpage`. */
export function defaultStateDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_STATE_HOME;
  const inHome = join(homedir(), '.local', 'state');
  return join(base !== undefined && isAbsolute(base) ? base : inHome, 'farpage');
}

const isObject = (given: unknown) =>
  typeof given === 'object' && given !== null && !Array.isArray(given);
const isText = (given: unknown) => typeof given === 'string';
const isNumber = (given: unknown) => typeof given === 'number';

/** Kinds of options, in words, and whether a value is of that kind. */
const KINDS = {
  text: ['a text', isText],
  number: ['a number', isNumber],
  size: ['bytes, or a text such as 4GiB', (given: unknown) => isNumber(given) || isText(given)],
  endpoint: ['HOST:PORT, or {host, port}', (given: unknown) => isText(given) || isObject(given)],
  list: ['an array', (given: unknown) => Array.isArray(given)],
  object: ['an object', isObject],
} as const satisfies Record<string, readonly [string, (given: unknown) => boolean]>;

/** ERR_ARGUMENT for an option that is none, or of another type. */
function checkGiven(options: ApplianceOptions): void {
  checkObject('the options of an appliance', options);
  for (const [name, given] of Object.entries(options)) {
    if (!Object.hasOwn(OPTIONS, name)) {
      throw new FarpageError('ERR_ARGUMENT', `an appliance has no option ${name}`);
    }
    const [what, fits] = KINDS[OPTIONS[name as keyof ApplianceOptions]];
    if (given === undefined || fits(given)) continue;
    throw new FarpageError('ERR_ARGUMENT', `${name}: ${what}, not ${nameOf(given)}`);
  }
}

function memoryBytes(memory: number | string | undefined): number {
  if (memory === undefined) return defaultMemoryBytes();
  const bytes = floorToPage(parseSize(memory));
  if (bytes >= PAGE_BYTES) return bytes;
  throw new FarpageError('ERR_ARGUMENT', `memory must hold one page of ${PAGE_BYTES} at least`);
}

function overcommitOf(ratio: number = Number.POSITIVE_INFINITY): number {
  if (ratio > 0) return ratio;
  throw new FarpageError('ERR_ARGUMENT', `overcommit must be above 0, not ${ratio}`);
}

function within(name: string, value: number, [min, max]: readonly [number, number]): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new FarpageError('ERR_ARGUMENT', `${name} must be ${min} to ${max}, not ${value}`);
}

function endpointOf(
  given: HostPort | string | undefined,
  defaultPort: number,
): HostPort | undefined {
  if (given === undefined) return undefined;
  if (typeof given === 'string') return parseHostPort(given, defaultPort);
  const { host, port } = given;
  if (typeof host !== 'string' || host === '') {
    throw new FarpageError('ERR_ARGUMENT', `host: a text, not ${nameOf(host)}`);
  }
  return { host, port: within('port', port, [0, 65_535]) };
}

/** Paths are told to clients and looked at again later, when this may be another directory. */
const absolute = (path: string | undefined) => (path ? resolve(path) : path);

/** ERR_ARGUMENT for what the header of a memory file could not hold whole (memory_files.cc). */
function bootIdOf(bootId: string | undefined): string | undefined {
  if (bootId === undefined) return undefined;
  const fits = typeof bootId === 'string' && bootId !== '' && Buffer.byteLength(bootId) <= 63;
  if (fits && !bootId.includes('\0')) return bootId;
  throw new FarpageError('ERR_ARGUMENT', 'bootId: a text of 1 to 63 bytes');
}

/** The tiers that were named, none of which is made yet; undefined where none were. */
function tiersOf({ tiers, tierTokenFile }: ApplianceOptions): TierSpec[] | undefined {
  return tiers === undefined ? undefined : checkTiers(tiers, absolute(tierTokenFile));
}

/**
 * Fills in the defaults, and makes the directories once nothing is wrong with any option.
 * ERR_ARGUMENT, ERR_SIZE, ERR_TOKEN, ERR_FILE_*, ERR_IO.
 */
export function resolveOptions(options: ApplianceOptions): ResolvedOptions {
  checkGiven(options);
  const tokenFile = absolute(options.tokenFile);
  const listen = endpointOf(options.listen, CONTROL_PORT);
  const fabric = endpointOf(options.fabric, 0);
  const stateDirectory = absolute(options.stateDirectory) ?? defaultStateDirectory();
  const socket = absolute(options.socket) ?? defaultSocketPath();
  const generated = listen !== undefined && tokenFile === undefined && !isLoopback(listen.host);
  const tokenPath = generated ? join(stateDirectory, 'token') : undefined;
  const given = tokenFile === undefined ? undefined : readToken(tokenFile);
  const polling = availableParallelism() > 1 ? POLL_US : 0;
  const readAhead =
    options.readAhead === undefined ? READ_AHEAD_BYTES : parseSize(options.readAhead);
  const present = memoryBytes(options.memory);
  const named = tiersOf(options);
  const memoryDirectory = absolute(options.memoryDirectory);
  if (memoryDirectory !== undefined) checkMemoryDirectory(memoryDirectory);
  const checked = {
    socket,
    listen,
    fabric: fabric ?? (listen && { host: listen.host, port: 0 }),
    stateDirectory,
    memoryDirectory,
    bootId: bootIdOf(options.bootId),
    root: options.root === undefined ? undefined : resolveRoot(options.root),
    allowedUrls: checkPrefixes(options.allowUrl ?? []),
    tokenPath,
    regions: (options.regions ?? []).map(regionBodyOf),
    sessionGraceMs: within('sessionGraceMs', options.sessionGraceMs ?? GRACE_MS, [0, 86_400_000]),
    quota: resolveQuota(options.quota),
    nic: {
      threads: within('nicThreads', options.nicThreads ?? 1, [1, 64]),
      pollUs: within('pollUs', options.pollUs ?? polling, [0, 1_000_000]),
      connectionsMax: CONNECTIONS_MAX,
    },
    pager: {
      memoryBytes: present,
      allocatedBytesMax: Math.floor(present * overcommitOf(options.overcommit)),
      fillThreads: within('fillThreads', options.fillThreads ?? FILL_THREADS, [1, 64]),
      readAheadBytes: within('readAhead', readAhead, [0, 64 * 1024 * 1024]),
      ageTickMs: within('ageTickMs', options.ageTickMs ?? AGE_TICK_MS, [100, 3_600_000]),
    },
  };
  makeTierDirectories(named ?? []);
  makePrivateDirectory(stateDirectory);
  if (options.socket === undefined) makePrivateDirectory(dirname(socket));
  const spill = named === undefined ? spillIn(stateDirectory, present) : undefined;
  return {
    ...checked,
    token: tokenPath === undefined ? given : keepToken(tokenPath),
    tiers: named ?? spillTier(spill),
    spill,
  };
}

function spillTier(spill: Spill | undefined): TierSpec[] {
  if (spill === undefined || 'reason' in spill) return [];
  return [{ kind: 'file', later: true, ...spill }];
}
