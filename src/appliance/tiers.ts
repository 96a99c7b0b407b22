/** The levels below memory: how they are named, opened and reached, and their figures. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { parseUrl } from '../control/address.js';
import { checkObject, checkOptions, nameOf } from '../control/given-options.js';
import { regionName, type TierList } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { PagerHandle, TierOptions, TierStats } from '../native/binding.js';
import { native } from '../native/load.js';
import { PAGE_BYTES, parseSize } from '../units.js';
import { refusalOf } from './session-elsewhere.js';
import { FORGET_MS, TierPool, type TierPoolOptions } from './tier-pool.js';

/** Tiers of one appliance at most, and the smallest of each kind: a chunk of slots, a page. */
const TIERS_MAX = 8;
const LEAST_PAGES = { compressed: 16, file: 1, appliance: 1 } as const;

/** A tier as an appliance is asked for it. */
export type TierSpec =
  | Exclude<TierOptions, { kind: 'appliance' }>
  | ({ readonly kind: 'appliance' } & TierPoolOptions);

const FORMS =
  'compressed:SIZE, file:DIRECTORY:SIZE or farpage://HOST:PORT/REGION[:SIZE], or none alone';

/** Instead of tiers: there shall be none. */
const NONE = 'none';

/** Names of regions have no colon: what is behind one is a size. */
function parsePool(text: string): TierSpec {
  const [name = '', size, ...rest] = (parseUrl(text).region ?? '').split(':');
  if (!v.is(regionName, name) || rest.length > 0) {
    throw new FarpageError('ERR_ARGUMENT', `"${text}" names no region; write ${FORMS}`);
  }
  if (size === undefined) return { kind: 'appliance', url: text };
  const url = text.slice(0, text.lastIndexOf(':'));
  return { kind: 'appliance', url, capacityBytes: parseSize(size) };
}

/**
 * A tier of `compressed:SIZE`, `file:DIRECTORY:SIZE`, or a URL of a region elsewhere, perhaps with
 * `:SIZE` behind it. ERR_ARGUMENT, ERR_SIZE.
 */
export function parseTier(text: string): TierSpec {
  if (/^farpage(\+unix)?:/.test(text)) return parsePool(text);
  const [, kind, directory, size = ''] = /^(compressed|file)(?::(.+))?:([^:]+)$/.exec(text) ?? [];
  if (kind === 'compressed' && directory === undefined) {
    return { kind, capacityBytes: parseSize(size) };
  }
  if (kind === 'file' && directory !== undefined) {
    return { kind, directory, capacityBytes: parseSize(size) };
  }
  throw new FarpageError('ERR_ARGUMENT', `"${text}" is no tier; write ${FORMS}`);
}

/** What tiers have, by kind. */
const TIER_KEYS: Readonly<Record<string, readonly string[]>> = {
  compressed: ['kind', 'capacityBytes'],
  file: ['kind', 'capacityBytes', 'directory', 'later'],
  appliance: ['kind', 'capacityBytes', 'url', 'tokenFile'],
};

/** A tier that is no text; ERR_ARGUMENT. */
function checkTier(tier: TierSpec): TierSpec {
  checkObject('a tier', tier);
  const known = Object.hasOwn(TIER_KEYS, tier.kind) ? TIER_KEYS[tier.kind] : undefined;
  if (known === undefined) {
    const kinds = Object.keys(TIER_KEYS).join(', ');
    throw new FarpageError(
      'ERR_ARGUMENT',
      `the kind of a tier: ${kinds}, not ${nameOf(tier.kind)}`,
    );
  }
  checkOptions(`tiers of kind ${tier.kind}`, tier, known);
  const text = { compressed: undefined, file: 'directory', appliance: 'url' }[tier.kind];
  const given = text === undefined ? '' : (tier as unknown as Record<string, unknown>)[text];
  if (typeof given === 'string' && (text === undefined || given !== '')) return tier;
  throw new FarpageError('ERR_ARGUMENT', `the ${text} of a tier: a text, not ${nameOf(given)}`);
}

/** Only the last part of a path may be missing: a mistyped one shall not grow a tree. */
function checkDirectory(path: string): void {
  const place = existsSync(path) ? path : dirname(path);
  const found = statSync(place, { throwIfNoEntry: false });
  if (found?.isDirectory()) return;
  const wrong = found === undefined ? 'lies in a directory that is missing' : 'is no directory';
  throw new FarpageError('ERR_ARGUMENT', `the tier's ${path} ${wrong}`);
}

/** Checks tiers; makes nothing. ERR_ARGUMENT, ERR_SIZE. */
export function checkTiers(given: readonly (TierSpec | string)[], tokenFile?: string): TierSpec[] {
  if (given.length === 1 && given[0] === NONE) return [];
  const tiers = given.map((tier) => (typeof tier === 'string' ? parseTier(tier) : checkTier(tier)));
  if (tiers.length > TIERS_MAX) {
    throw new FarpageError('ERR_ARGUMENT', `${tiers.length} tiers; ${TIERS_MAX} at most`);
  }
  for (const tier of tiers) {
    if (tier.kind === 'file') checkDirectory(resolve(tier.directory));
    const least = LEAST_PAGES[tier.kind] * PAGE_BYTES;
    // All of the pool, unless it says otherwise; others must say it.
    const { capacityBytes = tier.kind === 'appliance' ? least : 0 } = tier;
    if (Number.isSafeInteger(capacityBytes) && capacityBytes >= least) continue;
    throw new FarpageError('ERR_ARGUMENT', `${tier.kind} tier: ${least} bytes at least`);
  }
  return tiers.map((tier) => {
    if (tier.kind === 'appliance') return { tokenFile, ...tier };
    return tier.kind === 'file' ? { ...tier, directory: resolve(tier.directory) } : tier;
  });
}

/** Makes the directories of file tiers that are missing. ERR_FILE_ACCESS. */
export function makeTierDirectories(tiers: readonly TierSpec[]): void {
  for (const tier of tiers) {
    if (tier.kind !== 'file') continue;
    const { directory } = tier;
    try {
      mkdirSync(directory, { mode: 0o700 });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') continue;
      throw new FarpageError('ERR_FILE_ACCESS', directory, { cause });
    }
  }
}

/**
 * How long a start waits for the connections to pools that it has found, and between looks: for a
 * second one where the first takes longer than its second.
 */
const CONNECT_MS = 4000;
const CONNECTED_LOOK_MS = 2;
/** Between looks for places of pools that hold nothing any more. */
const GIVE_BACK_MS = 1000;

/** One round over the pools; the last one is of all that they hold. */
interface Giving {
  readonly last: boolean;
  readonly timeoutMs: number;
}

/** The tiers of one appliance, and its sessions at others for them. */
export class Tiers {
  readonly #specs: readonly TierSpec[];
  readonly #pools: readonly (TierPool | undefined)[];
  readonly #ready: Promise<void>;
  #begin: () => void = () => {};
  #isOwn: (identity: string) => boolean = () => false;
  #pager: PagerHandle | undefined;
  #looking: NodeJS.Timeout | undefined;
  /** Settles when the round that is under way has ended; never rejects. */
  #giving: Promise<unknown> | undefined;

  /** Contacts nobody yet. ERR_TOKEN, ERR_ARGUMENT. */
  constructor(specs: readonly TierSpec[]) {
    this.#specs = specs;
    this.#pools = specs.map((spec) => (spec.kind === 'appliance' ? new TierPool(spec) : undefined));
    this.#ready = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  /** What a pager is opened with. */
  get options(): TierOptions[] {
    return this.#specs.map((spec, index) => {
      if (spec.kind !== 'appliance') return spec;
      const { url: pool, capacityBytes = 0 } = spec;
      return { kind: 'appliance', pool, capacityBytes, needDoor: () => void this.#answer(index) };
    });
  }

  /**
   * Looks at the pools and lets pages go there; `isOwn` tells identities of regions that this
   * appliance has itself. Errors: those of TierPool.probe.
   */
  async start(pager: PagerHandle, isOwn: (identity: string) => boolean): Promise<void> {
    this.#isOwn = isOwn;
    const found = await Promise.all(this.#pools.map((pool) => pool?.probe(isOwn)));
    this.#pager = pager;
    this.#begin();
    if (!this.#pools.some((pool) => pool !== undefined)) return;
    const look = () => void this.#giveBack({ last: false, timeoutMs: FORGET_MS });
    this.#looking = setInterval(look, GIVE_BACK_MS).unref();
    await this.#connected(pager, found);
  }

  /** Memory and the tiers below it as they are now. */
  list(pager: PagerHandle): TierList {
    const stats = native().pagerStats(pager);
    const { memoryBytes: capacityBytes, presentPages: pages } = stats;
    const { pageBytes, tableBytes, ownBytes } = stats;
    const tiers = native().pagerTiers(pager);
    const told = tiers.map((tier, index) => this.#told(tier, index));
    return { memory: { capacityBytes, pages, pageBytes, tableBytes, ownBytes }, tiers: told };
  }

  /**
   * Tells pools to forget all that they hold, within FORGET_MS, and ends the sessions at other
   * appliances. Idempotent.
   */
  async close(): Promise<void> {
    clearInterval(this.#looking);
    const end = performance.now() + FORGET_MS;
    await this.#giving;
    await this.#giveBack({ last: true, timeoutMs: Math.max(0, end - performance.now()) });
    this.#pager = undefined;
    this.#begin();
    await Promise.all(this.#pools.map((pool) => pool?.close()));
  }

  /** The first write that needs a pool shall not come before it: so long a start waits for it. */
  async #connected(pager: PagerHandle, found: readonly (boolean | undefined)[]): Promise<void> {
    const until = performance.now() + CONNECT_MS;
    const isMissing = ({ state }: TierStats, index: number) =>
      state !== 'connected' && found[index] === true;
    while (native().pagerTiers(pager).some(isMissing) && performance.now() < until) {
      await sleep(CONNECTED_LOOK_MS);
    }
  }

  #told({ reason, ...tier }: TierStats, index: number): TierList['tiers'][number] {
    const given = this.#specs[index];
    if (given?.kind === 'file') return { ...tier, directory: given.directory };
    if (tier.state !== 'away') return tier;
    const error = this.#pools[index]?.error;
    const code = error?.code ?? reason ?? 'ERR_TIER_AWAY';
    return { ...tier, error: { code, message: error?.message ?? code } };
  }

  /** Tells the pools which of their places hold nothing any more; one round at a time. */
  async #giveBack(how: Giving): Promise<void> {
    if (this.#giving !== undefined) return;
    this.#giving = Promise.all(this.#pools.map((pool, index) => this.#giveTo(pool, index, how)));
    await this.#giving;
    this.#giving = undefined;
  }

  async #giveTo(pool: TierPool | undefined, index: number, { last, timeoutMs }: Giving) {
    const pager = this.#pager;
    if (pool === undefined || pager === undefined) return;
    const freed = native().tierTakeFreed(pager, index, last);
    if (freed.runs.length === 0) return;
    const forgotten = await pool.forget(freed.runs, timeoutMs);
    // Of what is not known the native side asks again.
    if (last || forgotten === 'unknown') return;
    native().tierEndFreed(pager, index, freed.pool, forgotten === 'forgotten');
  }

  /** Gives the native side a door to a pool, or the reason why there is none. */
  async #answer(index: number): Promise<void> {
    await this.#ready;
    try {
      const door = await this.#pools[index]?.door(this.#isOwn);
      if (this.#pager !== undefined && door) native().tierOpenDoor(this.#pager, index, door);
    } catch (error) {
      if (this.#pager === undefined) return;
      native().tierRefuseDoor(this.#pager, index, refusalOf(error));
    }
  }
}
