/** What a process really occupies, from /proc: to hold its own figures against. */
import { readFileSync } from 'node:fs';
import { openFiles } from './open-files.js';

export interface ProcessMemory {
  /** Bytes of its memory files: what staged and anonymous regions have committed. */
  readonly pageBytes: number;
  /** Bytes of its sparse tables, in the memory directory too, and the kernel's page tables. */
  readonly tableBytes: number;
  /** Everything else that is resident and of no file. */
  readonly ownBytes: number;
}

const kib = (text: string, key: string) =>
  1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);

/** Memory of a region, of its own or in the memory directory, and perhaps deleted there. */
const MEMORY_FILE = /^\/memfd:farpage-region|\/[0-9a-f]{32}\.memory(?: \(deleted\))?$/;
const TABLE_FILE = /\/[0-9a-f]{32}\.table(?: \(deleted\))?$/;

/** Bytes of the files of one kind that the process has open, each once, whatever its name now. */
function fileBytes(pid: number, kind: RegExp): number {
  const files = openFiles(pid).filter(({ path }) => kind.test(path));
  const bytes = new Map(files.map(({ stat }) => [stat.ino, stat.blocks * 512]));
  return [...bytes.values()].reduce((sum, one) => sum + one, 0);
}

/** Resident bytes of mappings that huge pages are kept out of: our tables and nobody else's. */
function sparseBytes(pid: number): number {
  const mappings = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return mappings
    .filter((one) => /^VmFlags:.* nh\b/m.test(one) && !/^\S+ \S+ \S+ \S+ [1-9]/.test(one))
    .reduce((sum, one) => sum + kib(one, 'Anonymous'), 0);
}

export function processMemory(pid: number): ProcessMemory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const sparse = sparseBytes(pid);
  return {
    pageBytes: fileBytes(pid, MEMORY_FILE),
    tableBytes: sparse + fileBytes(pid, TABLE_FILE) + kib(status, 'VmPTE'),
    ownBytes: kib(status, 'RssAnon') - sparse,
  };
}
