/** The NIC at the border: listeners, protection domains and what is registered in them. */
import type { PagerHandle } from './pager.js';
import type { RegionHandle } from './region.js';
import type { Access } from './region-options.js';

declare const tag: unique symbol;
export type NicHandle = object & { readonly [tag]: 'nic' };
export type ProtectionDomainHandle = object & { readonly [tag]: 'protectionDomain' };
export type MemoryRegionHandle = object & { readonly [tag]: 'memoryRegion' };

export interface NicOptions {
  /** Event loops; each connection belongs to one. */
  readonly threads: number;
  /** How long a loop polls after activity before it sleeps, in microseconds; 0 never polls. */
  readonly pollUs: number;
  /** Connections over all listeners; further ones are closed at accept. */
  readonly connectionsMax: number;
}

export interface NicStats {
  readonly connections: number;
  readonly accepted: number;
  readonly refused: number;
  readonly terminated: number;
  readonly operations: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface ExportOptions {
  readonly host: string;
  readonly port: number;
}

export interface NicBinding {
  nicOpen(pager: PagerHandle, options: NicOptions): NicHandle;
  /** Returns the port that was bound. Connections need a ticket. */
  nicListenTcp(nic: NicHandle, options: { host: string; port: number }): number;
  nicListenUnix(nic: NicHandle, path: string): void;
  nicStats(nic: NicHandle): NicStats;
  /** Idempotent. Stops accepting, ends every connection, joins the event loops. */
  nicClose(nic: NicHandle): void;

  protectionDomainOpen(nic: NicHandle, options: { connectionsMax: number }): ProtectionDomainHandle;
  /** A 16-byte ticket lets connections into the domain; unused it ends after `lifetimeMs`. */
  protectionDomainAdmit(
    domain: ProtectionDomainHandle,
    options: { ticket: Uint8Array; lifetimeMs: number },
  ): void;
  /** Registers a live mapping of this environment by its virtual address. */
  protectionDomainRegister(
    domain: ProtectionDomainHandle,
    options: { address: bigint; lengthBytes: number; access: Access },
  ): { handle: MemoryRegionHandle; stag: number };
  /**
   * Registers a region that has been opened, from its first byte on, whether it is allocated or
   * only reserved: the STag stays the same when it is allocated.
   */
  protectionDomainReserve(
    domain: ProtectionDomainHandle,
    options: { region: RegionHandle; lengthBytes: number; access: Access },
  ): { handle: MemoryRegionHandle; stag: number };
  /** Idempotent; after one grace period no operation can use the STag. */
  memoryRegionDeregister(memoryRegion: MemoryRegionHandle): void;
  /** Connections of the domain now. */
  protectionDomainConnections(domain: ProtectionDomainHandle): number;
  /** Idempotent. Deregisters what it holds, then ends its connections. */
  protectionDomainClose(domain: ProtectionDomainHandle): void;
  /**
   * A port without tickets whose MPA reply describes one memory region in librpma's layout.
   * Returns the port that was bound. Ends with its domain.
   */
  exportListen(
    domain: ProtectionDomainHandle,
    options: ExportOptions & { memoryRegion: MemoryRegionHandle },
  ): number;
}
