/** What a copy has of its source: a way to its pages, as long as it needs one. */
import type { FarpageError } from '../errors.js';
import type { RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import type { RegionRecord } from './record.js';
import { RemoteSource, sourceFailure } from './remote-source.js';
import { refusalOf } from './session-elsewhere.js';

export class CopySource {
  #source: RemoteSource | undefined;
  #failure: FarpageError | undefined;

  /** Why the last try to reach the source failed; nothing when it did not. */
  get failure(): FarpageError | undefined {
    return this.#failure;
  }

  /** Contacts nobody yet; nothing for what is no copy, or a detached one. */
  open({ source }: RegionRecord): void {
    if (source.kind === 'remote' && !source.detached) this.#source = new RemoteSource(source);
  }

  /** Gives the native side a door to the source, or the reason why there is none. */
  async answer({ source, size }: RegionRecord, handle: () => RegionHandle | undefined) {
    if (source.kind !== 'remote' || this.#source === undefined) return;
    try {
      const door = await this.#source.door({ size, identity: source.identity });
      const region = handle();
      this.#failure = undefined;
      if (region !== undefined) native().regionOpenDoor(region, door);
    } catch (error) {
      this.#failure = sourceFailure(error, source.url);
      const region = handle();
      if (region !== undefined) native().regionRefuseDoor(region, refusalOf(error));
    }
  }

  /** Ends the session at the source; idempotent. */
  close(): void {
    this.#source?.close();
    this.#source = undefined;
    this.#failure = undefined;
  }
}
