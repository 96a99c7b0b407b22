/** Small files of the state directory: replaced as a whole, and durable when a call returns. */
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type ErrorCode, FarpageError } from '../errors.js';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'ERR_NO_SPACE',
  EDQUOT: 'ERR_NO_SPACE',
  EFBIG: 'ERR_NO_SPACE',
};

/** The error of a file of the appliance's own: ERR_NO_SPACE, or ERR_IO. */
export function fileFailure(cause: unknown, path: string): FarpageError {
  if (cause instanceof FarpageError) return cause;
  const { code = '' } = cause as NodeJS.ErrnoException;
  return new FarpageError(CODES[code] ?? 'ERR_IO', path, { cause });
}

/** Makes the names in a folder durable (fsync(2) of the folder). */
export function syncFolder(folder: string): void {
  const opened = openSync(folder, 'r');
  try {
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
}

/**
 * Replaces a file: written beside it, fsynced, renamed over it, folder fsynced, so that a crash or
 * a power loss leaves the old or the new one. The old one stays as `previous` where that is given.
 * ERR_IO, ERR_NO_SPACE: then the old one is in place.
 */
export function replaceFile(path: string, contents: string | Uint8Array, previous?: string): void {
  const next = `${path}.next`;
  let undo = () => rmSync(next, { force: true });
  try {
    const file = openSync(next, 'w', 0o600);
    try {
      writeFileSync(file, contents);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    const before = previous === undefined ? 'unsupported' : keepAs(path, previous);
    renameSync(next, path);
    // Who is told of a failure must not meet what failed after the next start.
    if (before === 'kept') undo = () => renameSync(previous ?? next, path);
    if (before === 'none') undo = () => rmSync(path, { force: true });
    syncFolder(dirname(path));
  } catch (cause) {
    try {
      undo();
    } catch {} // The device is failing: that is told already.
    throw fileFailure(cause, path);
  }
}

/**
 * The same without a copy of the old one and behind the back of the JavaScript thread: one at a
 * time for each file. ERR_IO, ERR_NO_SPACE: then the old one is in place, or the new one.
 */
export async function replaceFileBehind(path: string, contents: string): Promise<void> {
  const next = `${path}.next`;
  try {
    await fillFile(next, contents);
    await rename(next, path);
    await using folder = await open(dirname(path), 'r');
    await folder.sync();
  } catch (cause) {
    await rm(next, { force: true }).catch(() => {});
    throw fileFailure(cause, path);
  }
}

/** Writes a file anew; durable when it settles. */
async function fillFile(path: string, contents: string): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.writeFile(contents);
  await file.sync();
}

/** Gives what is about to be replaced a second name; the first version has nothing before it. */
function keepAs(path: string, previous: string): 'kept' | 'none' | 'unsupported' {
  rmSync(previous, { force: true });
  try {
    linkSync(path, previous);
    return 'kept';
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return 'none';
    // A file system without links: there is no copy to go back to, and nothing worse.
    if (['EPERM', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code)) return 'unsupported';
    throw error;
  }
}
