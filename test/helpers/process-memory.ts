/** What a process really occupies, from /proc: to hold its own figures against. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

export interface ProcessMemory {
  /** Bytes of its memory files: what staged and anonymous regions have committed. */
  readonly pageBytes: number;
  /** Resident bytes of its sparse tables, and the kernel's page tables. */
  readonly tableBytes: number;
  /** Everything else that is resident and of no file. */
  readonly ownBytes: number;
}

const kib = (text: string, key: string) =>
  1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);

function memoryFileBytes(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  const bytesOf = (fd: string) => {
    try {
      const isRegion = readlinkSync(`${folder}/${fd}`).startsWith('/memfd:farpage-region');
      return isRegion ? statSync(`${folder}/${fd}`).blocks * 512 : 0;
    } catch {
      return 0; // Closed since it was listed.
    }
  };
  return readdirSync(folder).reduce((sum, fd) => sum + bytesOf(fd), 0);
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
    pageBytes: memoryFileBytes(pid),
    tableBytes: sparse + kib(status, 'VmPTE'),
    ownBytes: kib(status, 'RssAnon') - sparse,
  };
}
