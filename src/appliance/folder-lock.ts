import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { takeName } from '../control/listen.js';
import { FarpageError } from '../errors.js';

function openFolder(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new FarpageError('ERR_IO', `opening ${path}`, { cause });
  }
}

/**
 * Takes a folder for one appliance of this machine; the kernel gives it back when the process ends,
 * however it ends. Undefined when another one has it. It is known by device and inode, and held
 * open: so its inode is no other folder's, also when somebody deletes it meanwhile. ERR_IO.
 */
export async function lockFolder(
  purpose: 'state' | 'memory',
  path: string,
): Promise<AsyncDisposable | undefined> {
  const folder = openFolder(path);
  try {
    const { dev, ino } = fstatSync(folder, { bigint: true });
    const name = await takeName(`${purpose}/${dev}/${ino}`);
    if (name !== undefined) {
      return {
        async [Symbol.asyncDispose]() {
          await name[Symbol.asyncDispose]();
          closeSync(folder);
        },
      };
    }
  } catch (error) {
    closeSync(folder);
    throw error;
  }
  closeSync(folder);
  return undefined;
}
