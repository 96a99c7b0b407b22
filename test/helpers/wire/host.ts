/** The serving end of the wire tests: a real pager and NIC in this process, without a catalog. */
import { randomBytes } from 'node:crypto';
import type { MemoryRegion } from '../../../src/fabric/memory-region.js';
import { Nic } from '../../../src/fabric/nic.js';
import type { ProtectionDomain } from '../../../src/fabric/protection-domain.js';
import type { Access, PagerHandle, RegionHandle } from '../../../src/native/binding.js';
import { native } from '../../../src/native/load.js';
import { farpagePrivateData, MPA, type MpaRequest } from './mpa.js';

export interface WireRegion {
  readonly handle: RegionHandle;
  readonly size: number;
  readonly address: bigint;
}

const TICKET_MS = 30_000;

export class WireHost implements Disposable {
  readonly nic: Nic;
  /** Port for tickets. */
  readonly port: number;
  readonly #pager: PagerHandle;
  readonly #regions: RegionHandle[] = [];
  /** What the garbage collector must not end before the test does. */
  readonly #kept: unknown[] = [];

  constructor(options: { memoryBytes?: number; threads?: number; connectionsMax?: number } = {}) {
    const { memoryBytes = 64 * 2 ** 20, threads = 1, connectionsMax = 1024 } = options;
    this.#pager = native().pagerOpen({ memoryBytes, fillThreads: 4, readAheadBytes: 0 });
    this.nic = Nic.open(this.#pager, { threads, pollUs: 50, connectionsMax });
    this.port = this.nic.listenTcp({ host: '127.0.0.1', port: 0 });
  }

  anonymous(lengthBytes: number): WireRegion {
    const source = { kind: 'zero' } as const;
    const options = { lengthBytes, source, access: 'read-write', residentBytes: 0 } as const;
    return this.#opened(native().regionOpenStaged(this.#pager, options));
  }

  file(path: string, access: Access = 'read-write'): WireRegion {
    const options = { path, offset: 0, lengthBytes: 0, writeBehind: false, residentBytes: 0 };
    return this.#opened(native().regionOpenFile(this.#pager, { ...options, access }));
  }

  /** A domain with one registration of the whole region. */
  domain(
    region: WireRegion,
    options: { access?: Access; connectionsMax?: number } = {},
  ): { domain: ProtectionDomain; stag: number } {
    const { access = 'read-write', connectionsMax = 4096 } = options;
    const domain = this.nic.protectionDomain({ connectionsMax });
    return { domain, stag: this.#register(domain, region, access).stag };
  }

  /** A port of its own for any RDMA program, as `farpage export` opens one. */
  exported(
    region: WireRegion,
    options: { access?: Access } = {},
  ): { domain: ProtectionDomain; stag: number; port: number } {
    const { access = 'read-write' } = options;
    const domain = this.nic.protectionDomain({ connectionsMax: 4096 });
    const memoryRegion = this.#register(domain, region, access);
    const port = domain.exportListen({ host: '127.0.0.1', port: 0, memoryRegion });
    return { domain, stag: memoryRegion.stag, port };
  }

  /** A fresh ticket of a domain. */
  ticket(domain: ProtectionDomain, lifetimeMs = TICKET_MS): Buffer {
    const ticket = randomBytes(16);
    domain.admit({ ticket, lifetimeMs });
    return ticket;
  }

  [Symbol.dispose](): void {
    this.nic.close();
    for (const region of this.#regions) native().regionClose(region);
    native().pagerClose(this.#pager);
  }

  #register(domain: ProtectionDomain, region: WireRegion, access: Access): MemoryRegion {
    const { address, size: lengthBytes } = region;
    const memoryRegion = domain.register({ address, lengthBytes, access });
    this.#kept.push(domain, memoryRegion);
    return memoryRegion;
  }

  #opened(handle: RegionHandle): WireRegion {
    this.#regions.push(handle);
    const { size, address } = native().regionStats(handle);
    return { handle, size, address };
  }
}

/** The request of a connection with a ticket; `flags` are those of the private data. */
export function ticketRequest(ticket: Uint8Array, flags = 0, depth = 128): MpaRequest {
  const privateData = farpagePrivateData(ticket, flags);
  return { flags: MPA.enhanced, revision: 2, ird: 0, ord: depth, privateData };
}
