/** Which connections may use which memory regions: one for each session, one for each export. */
import type { Access, NicHandle, ProtectionDomainHandle, RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { MemoryRegion } from './memory-region.js';

export class ProtectionDomain implements Disposable {
  readonly #handle: ProtectionDomainHandle;

  private constructor(handle: ProtectionDomainHandle) {
    this.#handle = handle;
  }

  /** Opens a domain on a NIC, with a bound on its connections. Use `Nic.protectionDomain`. */
  static open(nic: NicHandle, options: { connectionsMax: number }): ProtectionDomain {
    return new ProtectionDomain(native().protectionDomainOpen(nic, options));
  }

  /** Connections of the domain now. */
  get connections(): number {
    return native().protectionDomainConnections(this.#handle);
  }

  /** Lets connections that show this 16-byte ticket in; unused it ends after `lifetimeMs`. */
  admit(options: { ticket: Uint8Array; lifetimeMs: number }): void {
    native().protectionDomainAdmit(this.#handle, options);
  }

  /**
   * Registers a mapping by its virtual address; from then on the domain's connections reach it by
   * the STag. ERR_ARGUMENT when the address is no live mapping of a region, ERR_ACCESS when more
   * is asked than the region permits, ERR_CLOSED after `close`.
   */
  register(options: { address: bigint; lengthBytes: number; access: Access }): MemoryRegion {
    const { handle, stag } = native().protectionDomainRegister(this.#handle, options);
    return new MemoryRegion({ handle, stag, access: options.access });
  }

  /**
   * Registers a region that may be only reserved: the first operation allocates it, under the same
   * STag. ERR_ACCESS, ERR_REGION_REMOVED, ERR_CLOSED.
   */
  reserve(options: { region: RegionHandle; lengthBytes: number; access: Access }): MemoryRegion {
    const { handle, stag } = native().protectionDomainReserve(this.#handle, options);
    return new MemoryRegion({ handle, stag, access: options.access });
  }

  /**
   * Opens a port whose MPA reply describes one memory region in librpma's layout; it asks for no
   * ticket. Returns the port; ERR_ADDRESS_IN_USE. Ends with the domain.
   */
  exportListen(options: { host: string; port: number; memoryRegion: MemoryRegion }): number {
    const { host, port, memoryRegion } = options;
    const target = { host, port, memoryRegion: memoryRegion.handle };
    return native().exportListen(this.#handle, target);
  }

  /** Deregisters what it holds, then ends its connections. Idempotent. */
  close(): void {
    native().protectionDomainClose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
