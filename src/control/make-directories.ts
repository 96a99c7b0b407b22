/** Directories of a path that a user gave, made one by one. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** The nearest part of a path that there is: what tells of a directory before it is made. */
export function existingPart(path: string): string {
  const above = dirname(path);
  return existsSync(path) || above === path ? path : existingPart(above);
}

/**
 * Makes a directory (0700) and those above it that are missing. Not by the `recursive` of Node,
 * which tries for ever where a file system answers ENOENT below a directory that is there, as
 * /proc does. Throws what mkdir(2) said, and ENOTDIR where something else is in its place.
 */
export function makeDirectories(path: string): void {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.unshift(at);
  for (const each of missing.length === 0 ? [path] : missing) {
    try {
      mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (statSync(each, { throwIfNoEntry: false })?.isDirectory()) continue;
      const message = `ENOTDIR: not a directory, mkdir '${each}'`;
      throw Object.assign(new Error(message, { cause: error }), { code: 'ENOTDIR' });
    }
  }
}
