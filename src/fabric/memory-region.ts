/** A registered range of memory and the steering tag that names it on the wire. */
import type { Access, MemoryRegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';

export class MemoryRegion implements Disposable {
  readonly handle: MemoryRegionHandle;
  /** Names the range in its protection domain, 32 random bits (RFC 5040 section 2.2). */
  readonly stag: number;
  readonly access: Access;

  constructor(options: { handle: MemoryRegionHandle; stag: number; access: Access }) {
    this.handle = options.handle;
    this.stag = options.stag;
    this.access = options.access;
  }

  /** Takes the STag back; when it returns no operation can use it any more. Idempotent. */
  deregister(): void {
    native().memoryRegionDeregister(this.handle);
  }

  [Symbol.dispose](): void {
    this.deregister();
  }
}
