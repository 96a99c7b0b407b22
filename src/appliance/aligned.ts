/** Offsets and lengths that must be whole pages. */
import { FarpageError } from '../errors.js';
import { ceilToPage, floorToPage, isPageAligned } from '../units.js';

/** ERR_ALIGNMENT, with the values that would do; 0 is an offset, and no length. */
export function checkAligned(what: string, value: number): void {
  if (isPageAligned(value)) return;
  const below = floorToPage(value);
  const near = below === 0 && what !== 'offset' ? [] : [below];
  const values = [...near, ceilToPage(value)].join(' or ');
  throw new FarpageError('ERR_ALIGNMENT', `${what} ${value}; ${values} would do`);
}
