/** What a machine has that Farpage uses, looked up without changing anything. */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, release, totalmem } from 'node:os';
import { defaultMemoryBytes, defaultStateDirectory } from '../appliance/options.js';
import { describeSpill, spillIn } from '../appliance/spill.js';
import { existingPart } from '../control/make-directories.js';
import { systemReason } from '../control/system-reason.js';
import { FarpageError } from '../errors.js';
import { native } from '../native/load.js';
import { formatSize, PAGE_BYTES } from '../units.js';

export interface Finding {
  readonly what: string;
  readonly found: string;
  /** `broken`: Farpage does not work; `lacking`: something is slower or missing. */
  readonly verdict: 'good' | 'lacking' | 'broken';
  /** What a lack costs. */
  readonly costs: string;
}

const SHM_BYTES_MIN = 256 * 1024 * 1024;
const FREE_BYTES_MIN = 256 * 1024 * 1024;
const FILES_MIN = 1024;

/** A kernel file's text, or undefined where it is not there or may not be read. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function judge(
  what: string,
  options: { found: string; good: boolean; costs: string; broken?: boolean },
): Finding {
  const { found, good, costs, broken = false } = options;
  return { what, found, verdict: good ? 'good' : broken ? 'broken' : 'lacking', costs };
}

/** Whether the running kernel is at least of a version. */
function kernelIsAtLeast(major: number, minor: number): boolean {
  const [has = 0, hasMinor = 0] = release().split('.').map(Number);
  return has > major || (has === major && hasMinor >= minor);
}

function kernel(): Finding[] {
  return [
    judge('kernel', {
      found: `Linux ${release()}`,
      good: kernelIsAtLeast(5, 14),
      broken: true,
      costs: '5.14 or newer is needed: MADV_POPULATE_READ fills pages without SIGBUS',
    }),
    judge('cachestat', {
      found: kernelIsAtLeast(6, 5) ? 'yes (6.5)' : 'no',
      good: kernelIsAtLeast(6, 5),
      costs: 'each first touch of a cached page goes through a fill thread, some 50 µs more',
    }),
  ];
}

function userfaultfd(): Finding {
  const value = textOf('/proc/sys/vm/unprivileged_userfaultfd');
  const root = process.getuid?.() === 0;
  const allowed = value === '1' || root;
  const setting = `vm.unprivileged_userfaultfd ${value}${root ? ', as root' : ''}`;
  return judge('userfaultfd', {
    found: value === undefined ? 'no' : `${allowed ? 'allowed' : 'user mode only'} (${setting})`,
    good: value !== undefined && allowed,
    costs: 'nothing: no part of Farpage uses it',
  });
}

function ioUring(): Finding {
  const value = textOf('/proc/sys/kernel/io_uring_disabled');
  const names: Readonly<Record<string, string>> = { 0: 'allowed', 1: 'privileged only', 2: 'off' };
  return judge('io_uring', {
    found: value === undefined ? 'not told by this kernel' : (names[value] ?? value),
    good: value === '0' || (value === '1' && process.getuid?.() === 0),
    costs: 'nothing: write-back uses threads; `farpage bench` lacks its io_uring column',
  });
}

function overcommit(): Finding {
  const value = textOf('/proc/sys/vm/overcommit_memory') ?? 'unknown';
  const names: Readonly<Record<string, string>> = { 0: 'heuristic', 1: 'always', 2: 'never' };
  return judge('overcommit', {
    found: `${names[value] ?? value} (vm.overcommit_memory ${value})`,
    good: value !== '2',
    costs: 'page tables and private mappings are charged in full: large regions are refused',
  });
}

function memoryLock(): Finding {
  const line = /^Max locked memory\s+(\S+)/m.exec(textOf('/proc/self/limits') ?? '')?.[1];
  const bytes = line === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line);
  return judge('locked memory', {
    found: Number.isFinite(bytes) ? formatSize(bytes) : (line ?? 'unknown'),
    good: true,
    costs: 'nothing: Farpage locks no memory, and what the kernel swaps out a read waits for',
  });
}

function hugePages(): Finding {
  const text = textOf('/sys/kernel/mm/transparent_hugepage/enabled');
  const mode = /\[(\w+)\]/.exec(text ?? '')?.[1];
  return judge('huge pages', {
    found: mode ?? 'no',
    good: mode === 'always' || mode === 'madvise',
    costs: 'nothing: regions are kept in the 4 KiB pages that are tracked and written',
  });
}

function sharedMemory(): Finding {
  const lost = 'after a crash nothing is left of what no sync has written';
  try {
    const { blocks, bsize, bavail } = statfsSync('/dev/shm');
    return judge('/dev/shm', {
      found: `${formatSize(blocks * bsize)}, ${formatSize(bavail * bsize)} free`,
      good: bavail * bsize >= SHM_BYTES_MIN,
      costs: `a \`--memory-dir\` there holds no more than that; without one, ${lost}`,
    });
  } catch {
    const costs = `\`--memory-dir\` needs another tmpfs; without one, ${lost}`;
    return judge('/dev/shm', { found: 'none', good: false, costs });
  }
}

function spillFile(): Finding {
  const directory = defaultStateDirectory();
  const costs =
    'writers wait, and fail, once dirty pages fill the memory, unless `--tier` names some';
  const nearest = existingPart(directory);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (error) {
    const found = `the state directory ${directory} cannot be used: ${systemReason(error)}`;
    return judge('spill file', { found, good: false, costs: '`serve` needs another --state' });
  }
  try {
    const spill = spillIn(nearest, defaultMemoryBytes());
    const good = !('reason' in spill);
    return judge('spill file', { found: describeSpill({ ...spill, directory }), good, costs });
  } catch (error) {
    return judge('spill file', { found: (error as Error).message, good: false, costs });
  }
}

function freeMemory(): Finding[] {
  const available = process.availableMemory();
  const limit = process.constrainedMemory();
  const limited = limit > 0 && limit < totalmem();
  return [
    judge('free memory', {
      found: `${formatSize(available)} of ${formatSize(totalmem())}`,
      good: available >= FREE_BYTES_MIN,
      costs: 'few pages can be present: others are evicted for them',
    }),
    judge('cgroup limit', {
      found: limited ? formatSize(limit) : 'none',
      good: !limited || limit >= FREE_BYTES_MIN,
      costs: 'few pages can be present: others are evicted for them',
    }),
  ];
}

function processors(): Finding[] {
  const files = Number(/^Max open files\s+(\d+)/m.exec(textOf('/proc/self/limits') ?? '')?.[1]);
  return [
    judge('processors', {
      found: String(availableParallelism()),
      good: availableParallelism() > 1,
      costs: 'nobody polls: each operation waits for a wake-up, some 40 µs',
    }),
    judge('open files', {
      found: String(files),
      good: files >= FILES_MIN,
      costs: 'fewer connections and regions at once',
    }),
  ];
}

function addon(): Finding[] {
  try {
    const { pageBytes, bindingVersion } = native();
    return [
      judge('native addon', { found: `version ${bindingVersion}`, good: true, costs: '' }),
      judge('page size', {
        found: formatSize(pageBytes),
        good: pageBytes === PAGE_BYTES,
        costs: `pages larger than ${PAGE_BYTES} bytes: more is read and written than was asked for`,
      }),
    ];
  } catch (error) {
    if (!(error instanceof FarpageError)) throw error;
    return [
      judge('native addon', { found: 'no', good: false, broken: true, costs: error.message }),
    ];
  }
}

async function mappedInput(): Promise<Finding> {
  const found = await import('mmap-io').then(
    () => 'yes',
    () => 'no',
  );
  const costs = '`write --input` reads the file through a buffer';
  return judge('mmap-io', { found, good: found === 'yes', costs });
}

/** Looks at everything. */
export async function examine(): Promise<Finding[]> {
  return [
    ...kernel(),
    ...addon(),
    ...processors(),
    ...freeMemory(),
    userfaultfd(),
    overcommit(),
    memoryLock(),
    hugePages(),
    sharedMemory(),
    spillFile(),
    ioUring(),
    await mappedInput(),
  ];
}
