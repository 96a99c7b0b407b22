import { readFileSync } from 'node:fs';
import { packagePath } from '../native/package-path.js';

/** The version of this package. */
export function packageVersion(): string {
  const text = readFileSync(packagePath('package.json'), 'utf8');
  return String((JSON.parse(text) as { version: unknown }).version);
}
