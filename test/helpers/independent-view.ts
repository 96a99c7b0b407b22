/** What is in a file, seen by somebody who knows nothing of Farpage: a mapping of mmap-io's. */
import { MappedInput } from '../../src/cli/mapped-input.js';

/**
 * A copy of the file's bytes as a shared mapping of it shows them: the page cache that every other
 * program sees. Small files, and those where mmap-io was not built, are read by position.
 */
export async function independentView(path: string): Promise<Buffer> {
  await using file = await MappedInput.open(path);
  return Buffer.from(await file.read(0, file.size));
}
