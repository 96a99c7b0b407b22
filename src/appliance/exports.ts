/** Ports that serve one region each to any RDMA program, without a ticket. */
import { contextOf } from '../control/codes.js';
import type { Exported } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { MemoryRegion } from '../fabric/memory-region.js';
import type { Nic } from '../fabric/nic.js';
import type { ProtectionDomain } from '../fabric/protection-domain.js';
import type { Access } from '../native/binding.js';
import { admit, type Quota } from './quota.js';
import type { Region } from './region.js';

interface Entry {
  readonly region: Region;
  readonly exported: Exported;
  readonly domain: ProtectionDomain;
  readonly memoryRegion: MemoryRegion;
}

/** Each export has a protection domain of its own, so that its port reaches that region only. */
export class Exports {
  readonly #nic: Nic;
  readonly #quota: Quota;
  readonly #entries: Entry[] = [];

  constructor(options: { nic: Nic; quota: Quota }) {
    this.#nic = options.nic;
    this.#quota = options.quota;
  }

  /** The ports of one region. */
  of(region: Region): Exported[] {
    return this.#entries.filter((entry) => entry.region === region).map(({ exported }) => exported);
  }

  /**
   * Opens a port, read-only unless `access` says otherwise: who reaches it shows no ticket. Settles
   * once what is written through it and lost would be known as lost. ERR_ADDRESS_IN_USE,
   * ERR_ACCESS, ERR_QUOTA.
   */
  async open(
    region: Region,
    options: { host: string; port: number; access?: Access | undefined },
  ): Promise<Exported> {
    const exported = this.#listen(region, options);
    await region.syncs.marked();
    return exported;
  }

  #listen(
    region: Region,
    options: { host: string; port: number; access?: Access | undefined },
  ): Exported {
    const { host, access = 'read-only' } = options;
    const { exportsMax, connectionsMax } = this.#quota;
    admit('exportsMax', { wanted: this.#entries.length + 1, max: exportsMax });
    const domain = this.#nic.protectionDomain({ connectionsMax });
    try {
      const memoryRegion = region.register(domain, access);
      const port = domain.exportListen({ host, port: options.port, memoryRegion });
      const { name, size } = region.record;
      const { stag } = memoryRegion;
      const exported = { region: name, host, port, access, stag, size };
      this.#entries.push({ region, exported, domain, memoryRegion });
      return exported;
    } catch (error) {
      domain.close();
      if (!(error instanceof FarpageError) || error.code === 'ERR_ACCESS') throw error;
      const where = `${host}:${options.port}: ${contextOf(error)}`;
      throw new FarpageError(error.code, where, { cause: error });
    }
  }

  /** Closes one port of a region; ERR_ARGUMENT when it has no such port. */
  close(region: Region, port: number): void {
    const found = this.#entries.find(
      (entry) => entry.region === region && entry.exported.port === port,
    );
    if (found === undefined) {
      throw new FarpageError('ERR_ARGUMENT', `${region.record.name} has no port ${port}`);
    }
    this.#end(found);
  }

  /** Closes every port of a region. */
  closeAll(region: Region): void {
    for (const entry of this.#entries.filter((each) => each.region === region)) this.#end(entry);
  }

  #end(entry: Entry): void {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    entry.memoryRegion.deregister();
    entry.domain.close();
  }
}
