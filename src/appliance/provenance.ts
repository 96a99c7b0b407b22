/** Where the bytes of a range's pages are from. */
import type { Provenance, ProvenanceRun } from '../control/schema.js';
import type { RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import type { Bounds } from './range.js';
import { isCopy, type RegionRecord } from './record.js';

/** As `native/pager/provenance.h` numbers them. */
const STATES = [
  'untouched',
  'filled',
  'file',
  'elsewhere',
  'kept',
  'dirty',
  'written-back',
  'lost',
] as const satisfies ProvenanceRun['state'][];
const PLACES = [undefined, 'memory', 'tier'] as const satisfies ProvenanceRun['place'][];
/** Nothing is untouched, or filled with a value, whose bytes a kept file has. */
const ORIGINS = ['fill', 'file', 'file', 'elsewhere'] as const;
const FIELDS = 5;

/** What is behind everything else: where a page that nobody touched comes from. */
function baseOf({ source }: RegionRecord): 'fill' | 'file' | 'elsewhere' {
  if (source.kind === 'anonymous') return 'fill';
  return source.kind === 'mapped' || source.kind === 'staged' ? 'file' : 'elsewhere';
}

function runsOf(fields: Float64Array, { source }: RegionRecord): ProvenanceRun[] {
  const fill = source.kind === 'anonymous' ? source.fill : 'zero';
  return Array.from({ length: fields.length / FIELDS }, (_, index) => {
    const at = index * FIELDS;
    const [offset = 0, length = 0, state = 0, place = 0, origin = 0] = fields.subarray(at);
    const name = STATES[state] ?? 'untouched';
    const from = ORIGINS[origin] ?? 'fill';
    const where = PLACES[place];
    return {
      offset,
      length,
      state: name,
      ...((name === 'untouched' || name === 'filled') && { from: from === 'fill' ? fill : from }),
      ...(where && { place: where }),
    };
  });
}

/** At most `limit` runs of the bounds, and where to ask on. */
export async function provenanceOf(region: {
  record: RegionRecord;
  handle: RegionHandle;
  bounds: Bounds;
  limit: number;
  /** The appliance's own file of it, where it keeps one. */
  keptPath: string;
}): Promise<Provenance> {
  const { record, handle, bounds, limit, keptPath: keep } = region;
  const copy = isCopy(record.source);
  const asked = { ...bounds, runs: limit, copy, keep, base: baseOf(record) };
  const { runs, next } = await native().regionProvenance(handle, asked);
  const { offset, lengthBytes: length } = bounds;
  return { region: record.name, offset, length, runs: runsOf(runs, record), next };
}
