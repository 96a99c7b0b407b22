/** Files that no region has: what a crash left between a file and the catalog. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A file whose region is in no catalog; pages stand at their offsets. */
export interface Orphan {
  readonly file: string;
  /** Bytes that it takes on the device. */
  readonly bytes: number;
}

const KEPT = /^([0-9a-f]{32})\.pages(\.new)?$/;
/** Pages, which of them are dirty, and what was set aside in conflict. */
const IN_MEMORY = /^([0-9a-f]{32})\.(memory|table|conflict-\d+)$/;
/** A table with its header and no page in it has this much (memory_files.cc). */
const HEADER_BYTES = 65_536;
const BLOCK_BYTES = 512;

/** Bytes that a file takes on its device. */
function bytesOf(file: string): number {
  return (statSync(file, { throwIfNoEntry: false })?.blocks ?? 0) * BLOCK_BYTES;
}

/**
 * Looks through the folder of kept files. One without data, whose region nobody was told of, is
 * what a crash while it was made has left, and goes. One with data may be all that is left of a
 * region whose catalog was lost: it stays, for its owner to copy or delete.
 */
export function findOrphans(
  folder: string,
  options: {
    /** Of the files in it. */
    names: readonly string[];
    known: ReadonlySet<string>;
    inMemory: (id: string) => boolean;
  },
): Orphan[] {
  const orphans: Orphan[] = [];
  for (const name of options.names) {
    const [, id = '', half] = KEPT.exec(name) ?? [];
    if (id === '' || (half === undefined && options.known.has(id))) continue;
    const file = join(folder, name);
    const bytes = bytesOf(file);
    if (half === undefined && (bytes > 0 || options.inMemory(id))) {
      orphans.push({ file, bytes });
      continue;
    }
    rmSync(file, { force: true });
    if (half !== undefined) continue;
    for (const what of ['sync', 'carving']) rmSync(join(folder, `${id}.${what}`), { force: true });
  }
  return orphans.sort(byName);
}

/** What a region knows of its syncs, its working set, and who carved it. */
const BESIDE = /^([0-9a-f]{32})\.(sync|set|carving(\.next)?)$/;

/**
 * Deletes what a removal has left that a crash interrupted: files about regions of which no bytes
 * are left to tell of. `removed` is asked where there are files of no region that is known; those
 * of files that `serve` was not told this time are among them, and stay.
 */
export function tidyRemoved(
  folder: string,
  options: {
    /** Of the files in it. */
    names: readonly string[];
    known: ReadonlySet<string>;
    removed: () => ReadonlySet<string>;
  },
): void {
  const { names, known } = options;
  const left = names.flatMap((name) => {
    const id = BESIDE.exec(name)?.[1];
    return id === undefined || known.has(id) ? [] : [{ name, id }];
  });
  if (left.length === 0) return;
  const removed = options.removed();
  for (const { name, id } of left) {
    if (removed.has(id) && !names.includes(`${id}.pages`)) rmSync(join(folder, name));
  }
}

function byName(left: Orphan, right: Orphan): number {
  return left.file < right.file ? -1 : 1;
}

/**
 * The same of a memory directory, whose catalog was lost or is in another state directory: memory
 * that nobody's bound counts. Files of a region of which no page was ever there go.
 */
export function findMemoryOrphans(folder: string, known: ReadonlySet<string>): Orphan[] {
  const found = new Map<string, Orphan[]>();
  for (const name of readdirSync(folder)) {
    const id = IN_MEMORY.exec(name)?.[1];
    if (id === undefined || known.has(id)) continue;
    const file = join(folder, name);
    found.set(id, [...(found.get(id) ?? []), { file, bytes: bytesOf(file) }]);
  }
  const orphans: Orphan[] = [];
  for (const files of found.values()) {
    const empty = files.every(({ file, bytes }) =>
      file.endsWith('.table') ? bytes <= HEADER_BYTES : bytes === 0,
    );
    if (empty) for (const { file } of files) rmSync(file, { force: true });
    else orphans.push(...files);
  }
  return orphans.sort(byName);
}
