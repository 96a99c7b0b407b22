/** The client: one session at one appliance, with a connection to its fabric. */
import { findAppliance } from '../control/address.js';
import { checkOptions, nameOf } from '../control/given-options.js';
import { ControlClient } from '../control/http-client.js';
import { type RegionOptions, regionBodyOf } from '../control/region-options.js';
import type { DirtyRule, Receipt, RegionStat } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import { checkQueuePair, QueuePair, type QueuePairOptions } from '../fabric/queue-pair.js';
import type { Access } from '../native/binding.js';
import type { Attached } from './attached.js';
import { ClientSession } from './client-session.js';
import { RANGE_KEYS, type RangeOptions } from './external-pages.js';
import { ExternalRegion } from './external-region.js';
import { givenLimits, type Limits, limitsAmong, NO_LIMITS, within } from './limits.js';
import { FabricLink } from './reconnect.js';

/** How `connect` reaches an appliance; the limits are of each call until it is reached. */
export interface ConnectOptions extends Limits {
  /** Shown at a TCP door; by default `FARPAGE_TOKEN`. */
  readonly token?: string;
  /** The queue pair's own settings. */
  readonly fabric?: Pick<QueuePairOptions, 'crc' | 'depth' | 'spinUs'>;
}

/** What `attach` asks for. */
export interface AttachOptions extends Limits {
  /** At most what the region permits, else ERR_ACCESS; all of that by default. */
  readonly access?: Access;
  /** With the right to carve slabs, which one session has: ERR_REGION_CARVED. */
  readonly carve?: boolean;
}

/** How a region is removed. */
export interface RemoveOptions extends Limits {
  /** What becomes of its dirty pages; `refuse` by default: ERR_REGION_DIRTY. */
  readonly dirty?: DirtyRule;
}

/** The session would end by its grace anyway: nobody waits longer than this to say goodbye. */
const CLOSE_MS = 1000;

/** ERR_ARGUMENT for what no queue pair can be; before there is a session that would have to end. */
function checkFabric(fabric: ConnectOptions['fabric']): void {
  if (fabric === undefined) return;
  checkOptions('fabric options', fabric, ['crc', 'depth', 'spinUs']);
  checkQueuePair(fabric);
}

/**
 * A session at an appliance and a connection to its NIC, made again when either is lost, until
 * `close`. It makes, attaches and tells about regions.
 */
export class Client implements AsyncDisposable {
  readonly #control: ControlClient;
  readonly #session: ClientSession;
  readonly #link: FabricLink;

  constructor(options: { control: ControlClient; session: ClientSession; link: FabricLink }) {
    this.#control = options.control;
    this.#session = options.session;
    this.#link = options.link;
  }

  /** Fabric connections made so far: more than one means that some were lost. */
  get connections(): number {
    return this.#link.made;
  }

  /**
   * Makes a region and attaches it with the right to carve slabs. With a name it lives until it is
   * removed, without one until this client closes. With `from` it is a copy of a region elsewhere;
   * one without a name is kept in no file. ERR_REGION_EXISTS, ERR_QUOTA, ERR_FILE_*, ERR_SOURCE_*,
   * ERR_URL_NOT_ALLOWED, ERR_NO_APPLIANCE.
   */
  async allocate(options: RegionOptions, limits: Limits = NO_LIMITS): Promise<ExternalRegion> {
    const body = regionBodyOf(options);
    return this.#region(await this.#session.allocate(body, givenLimits(limits)));
  }

  /**
   * The same, but nothing is allocated before the first operation on it, which is also the one to
   * hear when that cannot be: ERR_QUOTA, ERR_MEMORY_FULL, ERR_FILE_*. Regions without a file
   * always wait so; a file is opened, locked and mapped then.
   */
  async reserve(options: RegionOptions, limits: Limits = NO_LIMITS): Promise<ExternalRegion> {
    return await this.allocate({ ...options, reserve: true }, limits);
  }

  /**
   * Attaches a region that exists. `carve` asks for the right to carve slabs, which one session
   * has: ERR_REGION_CARVED. ERR_NO_SUCH_REGION, ERR_ACCESS, ERR_QUOTA.
   */
  async attach(name: string, options: AttachOptions = NO_LIMITS): Promise<ExternalRegion> {
    const limits = limitsAmong(options, ['access', 'carve']);
    const { signal: _, timeoutMs: __, ...wanted } = options;
    return this.#region(await this.#session.attach({ region: name, ...wanted }, limits));
  }

  /** Makes a named region without attaching it. */
  async create(options: RegionOptions, limits: Limits = NO_LIMITS): Promise<RegionStat> {
    const body = regionBodyOf(options);
    return await this.#session.call('create', { ...givenLimits(limits), body });
  }

  /** Figures of all regions, by name. */
  async regions(limits: Limits = NO_LIMITS): Promise<RegionStat[]> {
    return (await this.#session.call('regions', givenLimits(limits))).regions;
  }

  /**
   * Removes a region; its backing file stays. `dirty` says what becomes of dirty pages; by default
   * it is refused then with ERR_REGION_DIRTY.
   */
  async remove(name: string, options: RemoveOptions = NO_LIMITS): Promise<void> {
    const limits = limitsAmong(options, ['dirty']);
    const { dirty } = options;
    const query = dirty === undefined ? {} : { dirty };
    await this.#session.call('remove', { ...limits, params: { region: name }, query });
  }

  /**
   * Syncs the writes begun so far to several regions. Those that are atomic are one transaction:
   * after a crash either all of them have it or none has; the others follow one by one.
   * ERR_WRITES_LOST as `ExternalRegion.sync`.
   */
  async sync(
    regions: readonly ExternalRegion[],
    options: RangeOptions = NO_LIMITS,
  ): Promise<Receipt[]> {
    const limits = limitsAmong(options, RANGE_KEYS);
    const { offset, length } = options;
    if (!Array.isArray(regions) || !regions.every((region) => region instanceof ExternalRegion)) {
      const what = 'regions: an array of those that attach and allocate return';
      throw new FarpageError('ERR_ARGUMENT', what);
    }
    const body = {
      regions: regions.map(({ name }) => name),
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    };
    return await ExternalRegion.syncAll(regions, { limits, ...body }, async (lineages) => {
      return (await this.#session.call('syncAll', { ...limits, lineages, body })).receipts;
    });
  }

  /** Ends the session and what was unnamed in it; operations in flight end. Idempotent. */
  async close(limits: Limits = { timeoutMs: CLOSE_MS }): Promise<void> {
    givenLimits(limits);
    this.#link.close();
    await this.#session.close(limits);
    this.#control.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #region(attached: Attached): ExternalRegion {
    return new ExternalRegion({ attached, link: this.#link, session: this.#session });
  }
}

/**
 * Connects to an appliance: `farpage://host[:port]` or `farpage+unix:/path`, by default what
 * `FARPAGE_URL` says, else the default socket. ERR_NO_APPLIANCE, ERR_TOKEN, ERR_TIMEOUT,
 * ERR_CONNECTION, ERR_NATIVE_MISSING.
 */
export async function connect(url?: string, options: ConnectOptions = {}): Promise<Client> {
  const limits = limitsAmong(options, ['token', 'fabric']);
  const { token = process.env.FARPAGE_TOKEN, fabric } = options;
  if (url !== undefined && typeof url !== 'string') {
    throw new FarpageError('ERR_ARGUMENT', `url: a text, not ${nameOf(url)}`);
  }
  checkFabric(fabric);
  const { address } = findAppliance(url);
  const control = new ControlClient({ address, token: token === '' ? undefined : token });
  const session = new ClientSession(control);
  const link = new FabricLink(async () => {
    return await QueuePair.connect({ ...fabric, ...(await session.door()) });
  });
  const client = new Client({ control, session, link });
  try {
    await session.open(limits);
    await within(link.connect(), limits);
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}
