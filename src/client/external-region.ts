/** A region of an appliance as its client has it. */
import { checkOptions } from '../control/given-options.js';
import type { Receipt, RegionStat, RestartReceipt } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { Access } from '../native/binding.js';
import { parseSize } from '../units.js';
import type { Attached } from './attached.js';
import type { ClientSession } from './client-session.js';
import { ExternalPages, RANGE_KEYS, type RangeOptions } from './external-pages.js';
import { givenLimits, type Limits, NO_LIMITS } from './limits.js';
import type { FabricLink } from './reconnect.js';
import { Slab } from './slab.js';
import { SlabAllocator } from './slab-allocator.js';

/**
 * A region that this client has attached, until `detach` or the client's `close`: its bytes as of
 * `ExternalMemory`, its pages as of `ExternalPages`, slabs of it, and syncs.
 */
export class ExternalRegion extends ExternalPages implements AsyncDisposable {
  /** What this client may do with it. */
  readonly access: Access;
  readonly #session: ClientSession;
  #allocator: SlabAllocator | undefined;

  constructor(options: { attached: Attached; link: FabricLink; session: ClientSession }) {
    super(options);
    this.access = options.attached.reply.access;
    this.#session = options.session;
  }

  /** This session has the right to carve slabs out of it. */
  get carve(): boolean {
    return this.attached.reply.carve;
  }

  /**
   * Takes a slab of `size` bytes, here and now: the appliance hears nothing of it, and the map of
   * slabs ends with this object. `align` is a power of two, 64 by default. ERR_REGION_CARVED
   * without the right to carve, ERR_SLAB_FULL.
   */
  allocate(size: number | string, options: { align?: number } = {}): Slab {
    checkOptions('options', options, ['align']);
    if (this.attached.isOver) throw this.attached.lost;
    if (!this.carve) {
      throw new FarpageError('ERR_REGION_CARVED', `${this.name} was attached without carve: true`);
    }
    this.#allocator ??= new SlabAllocator({ lengthBytes: this.size });
    const allocator = this.#allocator;
    const length = parseSize(size);
    const offset = allocator.allocate(length, options);
    this.attached.carved = true;
    const free = () => allocator.free(offset);
    return new Slab({ attached: this.attached, link: this.link, offset, size: length, free });
  }

  /** Opens a known place as a slab; it is taken from nobody. ERR_RANGE. */
  slab(place: { offset: number; length: number }): Slab {
    checkOptions('a place', place, RANGE_KEYS);
    const { offset, length } = place;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length)) {
      throw new FarpageError('ERR_ARGUMENT', 'a place: offset and length in bytes');
    }
    if (!(offset >= 0 && length >= 0 && length <= this.size - offset)) {
      throw new FarpageError('ERR_RANGE', `${offset} + ${length} in ${this.size} bytes`);
    }
    const { attached, link } = this;
    return new Slab({ attached, link, offset, size: length, free: undefined });
  }

  /**
   * Writes back what is dirty of the writes begun so far, and makes it durable. ERR_WRITES_LOST,
   * once, when a restart of the appliance has lost some of them.
   */
  async sync(options: RangeOptions = NO_LIMITS): Promise<Receipt> {
    const { limits, ...request } = this.request(options);
    const [posted] = await ExternalRegion.#settle([this], limits);
    const call = { ...limits, ...request };
    const receipt = await this.control.call('sync', call);
    this.#confirm(receipt, options, posted);
    return receipt;
  }

  /** The same of several regions: `call` syncs them, and their receipts come in the same order. */
  static async syncAll(
    regions: readonly ExternalRegion[],
    { limits, ...options }: Omit<RangeOptions, keyof Limits> & { limits: Limits },
    call: (lineages: readonly string[]) => Promise<Receipt[]>,
  ): Promise<Receipt[]> {
    const posted = await ExternalRegion.#settle(regions, limits);
    for (const { attached } of regions) if (attached.isOver) throw attached.lost;
    const receipts = await call(regions.map(({ attached }) => attached.reply.lineage));
    for (const [index, region] of regions.entries()) {
      region.#confirm(receipts[index], options, posted[index]);
    }
    return receipts;
  }

  /** Writes back what is dirty of the writes begun so far; the store may still cache it. */
  async flush(options: RangeOptions = NO_LIMITS): Promise<Receipt> {
    const { limits, ...request } = this.request(options);
    await ExternalRegion.#settle([this], limits);
    return await this.control.call('flush', { ...limits, ...request });
  }

  /**
   * Lets the source of a copy go, for good: it is asked no more. ERR_SOURCE_NEEDED while a page is
   * only there, ERR_ARGUMENT for what is no copy.
   */
  async detachSource(limits: Limits = NO_LIMITS): Promise<void> {
    await this.control.call('detachSource', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /** Its figures. */
  async stat(limits: Limits = NO_LIMITS): Promise<RegionStat> {
    return await this.control.call('stat', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /** What the appliance's last start found of it. */
  async receipt(limits: Limits = NO_LIMITS): Promise<RestartReceipt> {
    return await this.control.call('receipt', {
      ...givenLimits(limits),
      params: { region: this.name },
    });
  }

  /**
   * Whether a restart has lost writes that came after the sync of this epoch (`sync` returns it)
   * and before the next one. What is a conflict is in `receipt`.
   */
  async lostSince(epoch: number, limits: Limits = NO_LIMITS): Promise<boolean> {
    if (!Number.isSafeInteger(epoch) || epoch < 0) {
      throw new FarpageError('ERR_ARGUMENT', `${epoch} is the epoch of no sync`);
    }
    const receipt = await this.receipt(limits);
    return epoch > receipt.epoch || (receipt.lastLoss !== null && receipt.lastLoss >= epoch);
  }

  /**
   * Gives the attachment back, once what was begun before has ended; the region itself stays, if it
   * has a name. What is called from now on, also of its slabs, ends with ERR_CLOSED. Idempotent.
   */
  async detach(limits: Limits = NO_LIMITS): Promise<void> {
    givenLimits(limits);
    // Answers come in order (RFC 5040 section 5.5): that of a fence comes after all others.
    const settled = async () => await this.link.pair?.fence(limits);
    await this.#session.detach(this.attached, limits, settled);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach();
  }

  /**
   * Resolves once everything written before has been placed, with how many writes were posted of
   * each region; rejects with ERR_WRITES_LOST, once, when a restart has lost some of them.
   */
  static async #settle(regions: readonly ExternalRegion[], limits: Limits): Promise<number[]> {
    const posted = regions.map(({ attached }) => attached.unconfirmed.posted);
    await Promise.all(regions.map((region) => region.fence(limits)));
    // Only now, and of all: what is taken here is told.
    const lost = regions.flatMap(({ name, attached }) => {
      const lostSince = attached.unconfirmed.takeLoss();
      return lostSince === undefined ? [] : [`to ${name} after sync ${lostSince}`];
    });
    if (lost.length === 0) return posted;
    throw new FarpageError('ERR_WRITES_LOST', `what was written ${lost.join(', and ')}`);
  }

  /** Only what is durable, and all of the region, says that every write so far is safe. */
  #confirm(
    receipt: Receipt | undefined,
    { offset, length }: RangeOptions,
    posted: number | undefined,
  ): void {
    const whole = offset === undefined && length === undefined;
    if (!receipt?.durable || !whole || posted === undefined) return;
    this.attached.unconfirmed.confirm(posted, receipt.epoch);
  }
}
