/** Records of regions whose pages functions of this process supply. */
import { randomBytes } from 'node:crypto';
import { isGivenName } from '../control/region-name.js';
import type { RegionOptions } from '../control/region-options.js';
import type { RegionSpec } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { RegionSource } from './page-callbacks.js';
import type { RegionRecord } from './record.js';

/** What `Appliance.create` makes of functions; sizes in bytes, or like `4GiB`. */
export interface SuppliedRegion extends Pick<RegionOptions, 'access' | 'resident'> {
  readonly name: string;
  /** A multiple of the page size or not: the last page is supplied and taken to the byte. */
  readonly size: number | string;
  readonly source: RegionSource;
}

const ID_BYTES = 16;
const TAKEN: readonly string[] = ['name', 'size', 'access', 'resident'];

/** ERR_ARGUMENT for what does not go together with functions, ERR_NAME without a name. */
export function callbackRecord(spec: RegionSpec, source: RegionSource): RegionRecord {
  const { name, size, resident = 0 } = spec;
  const takesWrites = source?.writeBack !== undefined;
  if (name === undefined || !isGivenName(name)) throw new FarpageError('ERR_NAME', name ?? '');
  if (!size) throw new FarpageError('ERR_ARGUMENT', 'a source of pages needs a size above 0');
  const other = Object.entries(spec).find(([key, value]) => value && !TAKEN.includes(key));
  if (other !== undefined) {
    throw new FarpageError('ERR_ARGUMENT', `${other[0]} does not go together with source`);
  }
  const { access = takesWrites ? 'read-write' : 'read-only' } = spec;
  if (access === 'read-write' && !takesWrites) {
    throw new FarpageError('ERR_ARGUMENT', 'read-write needs a source with writeBack');
  }
  const id = randomBytes(ID_BYTES).toString('hex');
  const kept = { kind: 'callback', takesWrites } as const;
  return { name, id, door: 'unix', access, size, resident, source: kept };
}
