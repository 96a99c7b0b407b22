/** What regions may be called. */
import { FarpageError } from '../errors.js';

/**
 * What a user may give: 1 to 128 of the characters A-Z a-z 0-9 . _ -, but neither `.` nor `..`,
 * which no URL keeps (RFC 3986, section 5.2.4).
 */
const GIVEN_NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/;

/** The same, or `@` and 12 hexadecimal digits of a region that was given no name. */
export const REGION_NAME = new RegExp(`${GIVEN_NAME.source}|^@[0-9a-f]{12}$`);

/** Whether a user may give a region this name. */
export function isGivenName(name: string): boolean {
  return GIVEN_NAME.test(name);
}

/** Returns the name; ERR_NAME when no region can have it. */
export function checkRegionName(name: string): string {
  if (REGION_NAME.test(name)) return name;
  throw new FarpageError('ERR_NAME', `"${name}"`);
}
