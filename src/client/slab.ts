/** A part of a region that the client took for itself, or a place in it that it knows. */
import { FarpageError } from '../errors.js';
import type { Attached } from './attached.js';
import { ExternalMemory } from './external-memory.js';
import type { FabricLink } from './reconnect.js';

/** Offsets are from its own beginning, up to its own size; see `ExternalMemory`. */
export class Slab extends ExternalMemory implements Disposable {
  #free: (() => void) | undefined;
  #freed = false;

  constructor(options: {
    attached: Attached;
    link: FabricLink;
    offset: number;
    size: number;
    free: (() => void) | undefined;
  }) {
    super(options);
    this.#free = options.free;
  }

  /**
   * Gives the piece back to its region, without any traffic; its bytes stay. Operations begun from
   * now on end with ERR_CLOSED: the place may be another slab's. Idempotent.
   */
  free(): void {
    this.#freed = true;
    const free = this.#free;
    this.#free = undefined;
    free?.();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  protected override stag(): number {
    if (this.#freed) throw new FarpageError('ERR_CLOSED', `the slab at ${this.offset}`);
    return super.stag();
  }
}
