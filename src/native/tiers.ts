/** Tiers at the border: the levels below memory, and pages that go there and come back. */
import type { PagerHandle } from './pager.js';
import type { RegionHandle } from './region.js';
import type { SourceDoor } from './region-options.js';

/** A level below memory. */
export type TierOptions =
  | { readonly kind: 'compressed'; readonly capacityBytes: number }
  | {
      readonly kind: 'file';
      /** Where its unnamed file is made. */
      readonly directory: string;
      readonly capacityBytes: number;
      /** Made when the first page comes; a failure is that page's. */
      readonly later?: boolean;
    }
  | {
      readonly kind: 'appliance';
      /** URL of the region at another appliance, for people. */
      readonly pool: string;
      /** At most; 0: all of the region. */
      readonly capacityBytes: number;
      /** Called when a connection is needed; answered by tierOpenDoor or tierRefuseDoor. */
      readonly needDoor: () => void;
    };

/** Where a pool is reached, and what it is; earlier doors let nothing through any more. */
export type PoolDoor = SourceDoor & {
  readonly lengthBytes: number;
  /** Another pool than behind the last door: nothing of what was put there is left. */
  readonly fresh: boolean;
};

/** Places of a pool that hold nothing any more, as [offset, length] in bytes. */
export interface FreedPlaces {
  /** The native side's number of the pool. */
  readonly pool: number;
  readonly runs: readonly (readonly [number, number])[];
}

/** One tier's figures; pages unless a name says otherwise. */
export interface TierStats {
  readonly kind: 'compressed' | 'file' | 'appliance';
  /** Of a pool: its URL, how the connection is, and the code of why it last went away, or OK. */
  readonly pool?: string;
  readonly state?: 'connecting' | 'connected' | 'away';
  readonly reason?: string;
  /** 0 of a pool that was not seen yet, or is gone. */
  readonly capacityBytes: number;
  readonly usedBytes: number;
  /** That it holds now. */
  readonly pages: number;
  /** That came in from memory; that went back there; that went on to the next tier. */
  readonly storedPages: number;
  readonly loadedPages: number;
  readonly demotedPages: number;
  /** That came back other than they went in. */
  readonly lostPages: number;
}

export interface TierBinding {
  /** Whether an unnamed file can be made in a directory; none is left open. */
  canSpillTo(directory: string): boolean;
  pagerTiers(pager: PagerHandle): readonly TierStats[];
  /** The door that a tier at another appliance asked for; its index counts all tiers. */
  tierOpenDoor(pager: PagerHandle, index: number, door: PoolDoor): void;
  /** No door; ERR_SOURCE_CHANGED: the pool is gone, and what was there is lost. */
  tierRefuseDoor(pager: PagerHandle, index: number, code: string): void;
  /**
   * Takes places that were free for two calls, for the pool to forget what they hold; the same ones
   * again until tierEndFreed says whether it did. With `last` it is all where pages ever were: none
   * is wanted again.
   */
  tierTakeFreed(pager: PagerHandle, index: number, last: boolean): FreedPlaces;
  tierEndFreed(pager: PagerHandle, index: number, pool: number, forgotten: boolean): void;
  /**
   * The same as reclaim, and dirty pages go into the tiers; how many went. With `coldMs` only what
   * nobody has used for so long, a multiple of `ageTickMs` up to `ageMaxMs`.
   */
  regionDemote(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number; coldMs: number },
  ): Promise<{ readonly pages: number; readonly pinnedPages: number }>;
  /** Brings pages back from the tiers as far as there is memory; how many came. */
  regionPromote(
    region: RegionHandle,
    options: { offset: number; lengthBytes: number },
  ): Promise<number>;
}
