/** A NIC with one region behind it, anonymous by default, and queue pairs to reach it. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MemoryRegion } from '../../src/fabric/memory-region.js';
import { Nic } from '../../src/fabric/nic.js';
import type { ProtectionDomain } from '../../src/fabric/protection-domain.js';
import { QueuePair, type QueuePairOptions } from '../../src/fabric/queue-pair.js';
import type { Access, PageSource, RegionHandle } from '../../src/native/binding.js';
import { native } from '../../src/native/load.js';

const MEMORY_BYTES = 256 * 1024 * 1024;
const TICKET_LIFETIME_MS = 10_000;

export type Door = 'tcp' | 'unix';

export class FabricFixture implements AsyncDisposable {
  readonly domain: ProtectionDomain;
  readonly port: number;
  readonly path: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'farpage-fabric-'));
  readonly #pager = native().pagerOpen({
    memoryBytes: MEMORY_BYTES,
    fillThreads: 2,
    readAheadBytes: 0,
  });
  readonly region: RegionHandle;
  readonly #nic: Nic;
  /** Kept: a collected one is deregistered. */
  readonly #memoryRegion: MemoryRegion;
  readonly #queuePairs: QueuePair[] = [];

  constructor(options: {
    lengthBytes: number;
    access?: Access;
    pollUs?: number;
    source?: PageSource;
  }) {
    const { lengthBytes, access = 'read-write', pollUs = 50, source = { kind: 'zero' } } = options;
    this.region = native().regionOpenStaged(this.#pager, {
      lengthBytes,
      source,
      access: 'read-write',
      residentBytes: 0,
    });
    this.#nic = Nic.open(this.#pager, { threads: 1, pollUs, connectionsMax: 64 });
    this.port = this.#nic.listenTcp({ host: '127.0.0.1', port: 0 });
    this.path = join(this.#folder, 'fabric');
    this.#nic.listenUnix(this.path);
    this.domain = this.#nic.protectionDomain({ connectionsMax: 16 });
    const { address } = native().regionStats(this.region);
    this.#memoryRegion = this.domain.register({ address, lengthBytes, access });
  }

  get stag(): number {
    return this.#memoryRegion.stag;
  }

  async connect(door: Door = 'tcp', options: Partial<QueuePairOptions> = {}): Promise<QueuePair> {
    const ticket = randomBytes(16);
    this.domain.admit({ ticket, lifetimeMs: TICKET_LIFETIME_MS });
    const address = door === 'unix' ? { path: this.path } : { host: '127.0.0.1', port: this.port };
    const queuePair = await QueuePair.connect({ ...address, ticket, ...options });
    this.#queuePairs.push(queuePair);
    return queuePair;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const queuePair of this.#queuePairs) queuePair.close();
    this.domain.close();
    this.#nic.close();
    native().regionClose(this.region);
    native().pagerClose(this.#pager);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
