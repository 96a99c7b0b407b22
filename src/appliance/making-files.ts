/** Making a region makes files; one that cannot be made leaves none. */
import { existsSync, rmSync } from 'node:fs';

/** Runs what makes these files; when it fails, those that were not there before are deleted. */
export function makingFiles(paths: readonly string[], make: () => unknown): void {
  const made = paths.filter((path) => !existsSync(path));
  try {
    make();
  } catch (error) {
    for (const path of made) rmSync(path, { force: true });
    throw error;
  }
}
