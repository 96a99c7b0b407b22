/** Kept files that no region has: what a crash left between a file and the catalog. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A kept file whose region is in no catalog; its pages stand at their offsets. */
export interface Orphan {
  readonly file: string;
  /** Bytes that it takes on the device. */
  readonly bytes: number;
}

const KEPT = /^([0-9a-f]{32})\.pages(\.new)?$/;
const BLOCK_BYTES = 512;

/**
 * Looks through the folder of kept files. One without data, whose region nobody was told of, is
 * what a crash while it was made has left, and goes. One with data may be all that is left of a
 * region whose catalog was lost: it stays, for its owner to copy or delete.
 */
export function findOrphans(
  folder: string,
  options: { known: ReadonlySet<string>; inMemory: (id: string) => boolean },
): Orphan[] {
  const orphans: Orphan[] = [];
  for (const name of readdirSync(folder)) {
    const [, id = '', half] = KEPT.exec(name) ?? [];
    if (id === '' || (half === undefined && options.known.has(id))) continue;
    const file = join(folder, name);
    const bytes = (statSync(file, { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES;
    if (half === undefined && (bytes > 0 || options.inMemory(id))) {
      orphans.push({ file, bytes });
      continue;
    }
    rmSync(file, { force: true });
    if (half === undefined) rmSync(join(folder, `${id}.sync`), { force: true });
  }
  return orphans.sort((left, right) => (left.file < right.file ? -1 : 1));
}
