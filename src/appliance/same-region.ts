/** Whether a region that exists is the one that is asked for under its name, and how it differs. */
import type { RegionSpec } from '../control/schema.js';
import { formatAge } from '../units.js';
import type { RegionRecord } from './record.js';

type Compared = readonly [found: unknown, asked: unknown];

const onOff = (value: boolean | undefined) => (value ? 'on' : 'off');
const bytes = (count: number) => (count === 0 ? 'none' : `${count} bytes`);

function workingSetOf({ workingSetMs = 0 }: RegionRecord): string {
  return workingSetMs === 0 ? 'off' : formatAge(workingSetMs);
}

/** What its bytes are of: equal for two records that mean the same ones. */
function storeOf({ source }: RegionRecord): string {
  const { kind } = source;
  if (kind === 'anonymous' || kind === 'callback') return kind;
  if (kind === 'remote') return JSON.stringify([kind, source.url, source.identity]);
  if (kind === 'web') {
    const { url, offset, keep, version } = source;
    const { size, etag, lastModified } = version;
    return JSON.stringify([kind, url, offset, keep, size, etag, lastModified]);
  }
  // Mapped or staged, which a start with a memory directory may decide otherwise.
  return JSON.stringify(['file', source.path, source.offset]);
}

/** What decides which bytes it has, and what a sync of it promises: compared always. */
function contents(found: RegionRecord, asked: RegionRecord): Record<string, Compared> {
  const [left, right] = [found.source, asked.source];
  const both = left.kind === 'anonymous' && right.kind === 'anonymous';
  return {
    size: [bytes(found.size), bytes(asked.size)],
    ...(both && {
      fill: [left.fill, right.fill],
      persist: [onOff(left.persist), onOff(right.persist)],
    }),
    atomic: [onOff(found.atomic), onOff(asked.atomic)],
  };
}

/** What a request may leave open: compared where it was given. */
function given(
  found: RegionRecord,
  asked: RegionRecord,
  spec: Partial<RegionSpec>,
): Record<string, Compared> {
  const [left, right] = [found.source, asked.source];
  const behind = ({ source }: RegionRecord) =>
    onOff(source.kind === 'mapped' && source.writeBehind);
  const token = 'tokenFile' in left ? left.tokenFile : undefined;
  // Regions without a file are never allocated before they are touched, whatever is asked for.
  const reserves = 'path' in right;
  return {
    ...(spec.access !== undefined && { access: [found.access, asked.access] }),
    ...(spec.resident !== undefined && {
      resident: [bytes(found.resident), bytes(asked.resident)],
    }),
    ...(spec.kind !== undefined && { kind: [left.kind, right.kind] }),
    ...(spec.writeBehind !== undefined && { 'write-behind': [behind(found), behind(asked)] }),
    ...(spec.reserve !== undefined &&
      reserves && { reserve: [onOff(found.reserve), onOff(asked.reserve)] }),
    ...(spec.workingSetMs !== undefined && {
      'working-set': [workingSetOf(found), workingSetOf(asked)],
    }),
    ...(spec.fromTokenFile !== undefined && {
      // Where secrets lie is for nobody to learn who guesses.
      'from-token-file': [token === spec.fromTokenFile ? 'that' : 'another one', 'that'],
    }),
  };
}

/**
 * How the region `found` differs from the record of a request of the same name; nothing when it is
 * what was asked for. What the request left open in `spec` is as it was found.
 */
export function differenceOf(
  found: RegionRecord,
  asked: RegionRecord,
  spec: Partial<RegionSpec> = {},
): string | undefined {
  if (storeOf(found) !== storeOf(asked)) return 'its bytes are those of something else';
  const compared = { ...contents(found, asked), ...given(found, asked, spec) };
  const differs = Object.entries(compared).find(([, [has, wanted]]) => has !== wanted);
  if (differs === undefined) return undefined;
  const [what, [has, wanted]] = differs;
  return `its ${what} is ${has}, not ${wanted}`;
}
