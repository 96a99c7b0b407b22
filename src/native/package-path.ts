import { fileURLToPath } from 'node:url';

/** Where a file of this package is: two folders up, for this module and for the bundle of it. */
export function packagePath(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
