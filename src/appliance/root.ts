/** Which paths a request may name: any on the Unix socket, those below `--root` on TCP. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import type { Door } from '../control/authorize.js';
import { FarpageError } from '../errors.js';

function real(path: string, options: { mayBeMissing: boolean }): string {
  try {
    return realpathSync.native(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    if (missing && options.mayBeMissing && basename(path) !== '..') {
      return join(real(dirname(path), { mayBeMissing: false }), basename(path));
    }
    throw new FarpageError(missing ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_ACCESS', path, {
      cause: error,
    });
  }
}

/** The root itself, resolved; ERR_FILE_NOT_FOUND when it is not there. */
export function resolveRoot(root: string): string {
  return real(resolve(root), { mayBeMissing: false });
}

/**
 * The real path of a file that a request names, with every symbolic link followed; `make` allows
 * the last part to be missing. At the TCP door the result must lie below `root` (a relative path
 * is one below it): ERR_OUTSIDE_ROOT, also for what does not exist there.
 */
export function resolveFile(
  path: string,
  options: { door: Door; root: string | undefined; make: boolean },
): string {
  const { door, root } = options;
  if (path.includes('\0')) throw new FarpageError('ERR_ARGUMENT', 'a path with a zero byte in it');
  if (door === 'unix') {
    if (!path.startsWith('/')) throw new FarpageError('ERR_ARGUMENT', `${path} is not absolute`);
    return real(path, { mayBeMissing: options.make });
  }
  if (root === undefined) throw new FarpageError('ERR_OUTSIDE_ROOT', 'no --root was given');
  const inside = (candidate: string) =>
    candidate.startsWith(root.endsWith(sep) ? root : root + sep);
  const wanted = resolve(root, path);
  if (!inside(wanted)) throw new FarpageError('ERR_OUTSIDE_ROOT', path);
  const found = real(wanted, { mayBeMissing: options.make });
  if (!inside(found)) throw new FarpageError('ERR_OUTSIDE_ROOT', path);
  return found;
}
