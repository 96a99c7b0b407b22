/** What of provenance crosses the border between TypeScript and C++. */
import type { RegionHandle } from './region.js';

export interface ProvenanceOptions {
  readonly offset: number;
  readonly lengthBytes: number;
  /** Runs of one answer; 4,096 at most. */
  readonly runs: number;
  /** It is kept and pulled from elsewhere: what its file has need not have been written here. */
  readonly copy: boolean;
  /** What is known of it while it is only reserved: its kept file, if any, and what it is over. */
  readonly keep: string;
  readonly base: 'fill' | 'file' | 'elsewhere';
}

export interface ProvenanceAnswer {
  /** Offset, length, state, place and origin of each run, as `native/pager/provenance.h` says. */
  readonly runs: Float64Array;
  /** Where to ask on; null at the end of the range. */
  readonly next: number | null;
}

export interface ProvenanceBinding {
  /** Where the pages of a range are from. Costs what was touched, not what could be. */
  regionProvenance(region: RegionHandle, options: ProvenanceOptions): Promise<ProvenanceAnswer>;
}
