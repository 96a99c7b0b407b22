/** One client's right to talk: a protection domain, a ticket for the fabric, and what it uses. */

import type { Hold } from '../control/handlers.js';
import type { Attachment } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { MemoryRegion } from '../fabric/memory-region.js';
import type { ProtectionDomain } from '../fabric/protection-domain.js';
import type { Access, AccountHandle } from '../native/binding.js';
import { PAGE_BYTES } from '../units.js';
import { admit, type Quota } from './quota.js';
import type { Range } from './range.js';
import type { Region } from './region.js';
import { randomSecret } from './token.js';

/** How long a ticket that nobody used lets connections in. */
export const TICKET_MS = 30_000;

/** How a region is attached. */
interface Asking {
  readonly access?: Access | undefined;
  readonly carve: boolean;
  /** The tenure that it had, and that no other one will do. */
  readonly carving?: string | undefined;
  readonly goOn?: boolean;
}

interface Attached {
  readonly region: Region;
  readonly memoryRegion: MemoryRegion;
}

/** What a region is; when its file is gone that fails, and `undo` is done first. */
function identify(region: Region, undo: () => void): Pick<Attachment, 'identity' | 'lineage'> {
  try {
    return { identity: region.identity, lineage: region.lineage };
  } catch (error) {
    undo();
    throw error;
  }
}

/**
 * Lives while a control connection holds it, plus a grace; also without one for the grace, which
 * every request of its own begins anew.
 */
export class Session {
  readonly id = randomSecret().toString('hex');
  readonly ended: Promise<void>;
  /** Regions it allocated, for its quota. */
  readonly allocated = new Set<Region>();
  /** What is charged once these are really allocated. */
  readonly account: AccountHandle;
  readonly #domain: ProtectionDomain;
  readonly #quota: Quota;
  readonly #graceMs: number;
  readonly #onEnd: (session: Session) => void;
  readonly #attached = new Map<number, Attached>();
  readonly #settle: () => void;
  #holds = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: {
    domain: ProtectionDomain;
    account: AccountHandle;
    quota: Quota;
    graceMs: number;
    onEnd: (session: Session) => void;
  }) {
    this.#domain = options.domain;
    this.account = options.account;
    this.#quota = options.quota;
    this.#graceMs = options.graceMs;
    this.#onEnd = options.onEnd;
    let settle = () => {};
    this.ended = new Promise((resolve) => {
      settle = resolve;
    });
    this.#settle = settle;
    this.touch();
  }

  /** Begins the grace anew, unless a connection holds the session anyway. */
  touch(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#holds > 0) return;
    this.#timer = setTimeout(() => this.#onEnd(this), this.#graceMs);
    this.#timer.unref();
  }

  /** Keeps it alive until the hold is released. */
  hold(): Hold {
    this.#holds += 1;
    this.touch();
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#holds -= 1;
      this.touch();
    };
    return { ended: this.ended, release };
  }

  /** A fresh ticket, in hexadecimal. */
  ticket(): string {
    const ticket = randomSecret();
    this.#domain.admit({ ticket, lifetimeMs: TICKET_MS });
    return ticket.toString('hex');
  }

  /** Connections of its domain now. */
  get connections(): number {
    return this.#domain.connections;
  }

  /**
   * Registers a region for this session; ERR_ACCESS, ERR_QUOTA, ERR_REGION_CARVED, and with `carve`
   * ERR_IO, ERR_NO_SPACE where that cannot be kept. Read-only it may carve as well: that says who
   * lays out places, for reads too, and takes no bytes from anybody.
   */
  async attach(region: Region, options: Asking): Promise<Attachment> {
    const { carving } = region;
    if (options.carve) carving.check(this.id);
    this.admitAttachment();
    const access = options.access ?? region.record.access;
    const memoryRegion = region.register(this.#domain, access);
    const who = identify(region, () => memoryRegion.deregister());
    const { stag } = memoryRegion;
    this.#attached.set(stag, { region, memoryRegion });
    if (options.carve) await this.#carve(stag, region, options);
    return {
      region: region.record.name,
      stag,
      size: region.record.size,
      pageSize: PAGE_BYTES,
      address: region.stat().address,
      access,
      carve: carving.holder === this.id,
      carving: carving.holder === this.id ? carving.tenure : null,
      ...who,
      ...region.syncs.known,
    };
  }

  /** Takes the right to carve what it has just attached, or gives the attachment back. */
  async #carve(stag: number, { carving }: Region, asked: Asking): Promise<void> {
    try {
      await carving.give(this.id, { tenure: asked.carving, goOn: asked.goOn ?? false });
    } catch (error) {
      if (this.#attached.has(stag)) this.detach(stag);
      throw error;
    }
    if (!this.#attached.has(stag)) throw new FarpageError('ERR_SESSION_ENDED');
  }

  /**
   * Whether its own WRITEs could replace whatever is in a range, and nothing of it outlives the
   * process: then it may discard that as well, whoever made the region.
   */
  mayReplace(region: Region, { offset, length = region.record.size - offset }: Range): boolean {
    const { source, protection = [] } = region.record;
    if (source.kind !== 'anonymous' || source.persist) return false;
    const end = offset + length;
    if (protection.some((less) => offset < less.offset + less.length && less.offset < end)) {
      return false;
    }
    const own = [...this.#attached.values()].filter((attached) => attached.region === region);
    return own.some(({ memoryRegion }) => memoryRegion.access === 'read-write');
  }

  /** Takes an STag back; ERR_STAG when it is none of this session's. */
  detach(stag: number): void {
    const found = this.#attached.get(stag);
    if (found === undefined) throw new FarpageError('ERR_STAG', String(stag));
    this.#attached.delete(stag);
    found.memoryRegion.deregister();
    const users = [...this.#attached.values()];
    const used = users.some(({ region }) => region === found.region);
    if (!used) found.region.carving.take(this.id);
  }

  /** ERR_QUOTA when another region of `bytes` is more than this session may allocate. */
  admitRegion(bytes: number): void {
    const sizes = [...this.allocated].map(({ record }) => record.size);
    const { sessionRegionsMax, sessionBytesMax } = this.#quota;
    admit('sessionRegionsMax', { wanted: sizes.length + 1, max: sessionRegionsMax });
    const wanted = sizes.reduce((sum, size) => sum + size, bytes);
    admit('sessionBytesMax', { wanted, max: sessionBytesMax });
  }

  /** ERR_QUOTA when this session may attach no other region. */
  admitAttachment(): void {
    const wanted = this.#attached.size + 1;
    admit('attachmentsMax', { wanted, max: this.#quota.attachmentsMax });
  }

  /** Takes back its STags of all regions that do not end with it. */
  letGo(): void {
    for (const [stag, { region, memoryRegion }] of this.#attached) {
      if (region.owner === this.id) continue;
      this.#attached.delete(stag);
      memoryRegion.deregister();
    }
  }

  /** Ends its STags and connections. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { memoryRegion } of this.#attached.values()) memoryRegion.deregister();
    this.#attached.clear();
    this.#domain.close();
    this.#settle();
  }
}
