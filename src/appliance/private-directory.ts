/** Directories that nobody else may enter. */
import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { makeDirectories } from '../control/make-directories.js';
import { systemReason } from '../control/system-reason.js';
import { FarpageError } from '../errors.js';

/** Makes a directory that only its user can enter; one of somebody else's is refused. */
export function makePrivateDirectory(path: string): void {
  try {
    makeDirectories(path);
  } catch (cause) {
    throw new FarpageError('ERR_IO', `${path}: ${systemReason(cause)}`, { cause });
  }
  if (statSync(path).uid === userInfo().uid) return;
  throw new FarpageError('ERR_IO', `${path} belongs to another user`);
}
