/** `farpage serve`: opens an appliance and runs it until it is told to end. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { Appliance } from '../../appliance/appliance.js';
import type { Doors } from '../../appliance/doors.js';
import {
  AGE_TICK_MS,
  FILL_THREADS,
  GRACE_MS,
  memoryOfMachine,
  POLL_US,
  READ_AHEAD_BYTES,
} from '../../appliance/options.js';
import { describeSpill } from '../../appliance/spill.js';
import { describeStart } from '../../appliance/start-report.js';
import { CONTROL_PORT, formatUrl } from '../../control/address.js';
import { isGivenName } from '../../control/region-name.js';
import type { RegionBody } from '../../control/schema.js';
import { isWebUrl } from '../../control/web-url.js';
import { FarpageError } from '../../errors.js';
import type { Access } from '../../native/binding.js';
import { formatAge, formatCount, formatPages, formatSize } from '../../units.js';
import { ENDED, EXIT } from '../exit-codes.js';
import { duration, hostPort, integer, ratio, type Shell, size } from '../options.js';
import { type QuotaOptions, quotaOf, withQuotas } from '../quota-options.js';

const collect = (text: string, before: string[] = []) => [...before, text];

interface Options extends QuotaOptions {
  readonly socket?: string;
  readonly listen?: { host: string; port: number };
  readonly fabric?: { host: string; port: number };
  readonly root?: string;
  readonly allowUrl?: string[];
  readonly state?: string;
  readonly memoryDir?: string;
  readonly tokenFile?: string;
  readonly memory?: number;
  readonly tier?: string[];
  readonly tierTokenFile?: string;
  readonly overcommit?: number;
  readonly resident?: number;
  readonly access?: Access;
  readonly writeBehind?: true;
  readonly fromTokenFile?: string;
  readonly sessionGrace?: number;
  readonly readAhead?: number;
  readonly ageTick?: number;
  readonly fillThreads?: number;
  readonly nicThreads?: number;
  readonly poll?: number;
  readonly json?: true;
}

/** Up to the first `=`, unless a path or URL begins before it. */
const NAMED = /^([^=/]*)=(.+)$/;

/** `NAME=FILE`, or `FILE` under its base name. ERR_NAME, ERR_ARGUMENT. */
function regionOf(
  text: string,
  { access, resident, writeBehind, fromTokenFile }: Options,
): RegionBody {
  const [, before = '', behind = ''] = NAMED.exec(text) ?? [];
  const isName = isGivenName(before);
  if (behind !== '' && !isName && !existsSync(text)) {
    throw new FarpageError('ERR_NAME', `"${before}"`);
  }
  if (text.endsWith('=') && !existsSync(text)) {
    throw new FarpageError('ERR_ARGUMENT', `"${text}" names no file; write NAME=FILE`);
  }
  const [name, file] = isName ? [before, behind] : [undefined, text];
  const web = isWebUrl(file);
  return {
    file: web ? file : resolve(file),
    ...(web && fromTokenFile !== undefined && { fromTokenFile: resolve(fromTokenFile) }),
    ...(name !== undefined && { name }),
    ...(access && { access }),
    ...(resident !== undefined && { resident }),
    ...(writeBehind && { writeBehind }),
  };
}

function announce(doors: Doors, { appliance, shell, json, memoryDir }: Announced): void {
  const { out } = shell;
  const control = formatUrl({ path: doors.socket });
  const tcp = doors.tcp && formatUrl(doors.tcp);
  const regions = appliance.regionNames;
  if (json) {
    const { fabric, tokenPath } = doors;
    out.object({
      pid: process.pid,
      socket: doors.socket,
      control,
      tcp,
      fabric,
      tokenPath,
      regions,
      start: appliance.start,
      recovered: appliance.recovered,
      spill: appliance.spill ?? null,
    });
    return;
  }
  for (const { path, pages, failure } of appliance.recovered) {
    const what = failure === null ? 'recovered' : `not recovered (${failure}), they wait for it`;
    out.line(`${path}: ${formatCount(pages, 'page')} of the last sync ${what}`);
  }
  out.line(`listening on ${control}`);
  if (tcp !== undefined) out.line(`listening on ${tcp}`);
  const { tcp: fabric } = doors.fabric;
  if (fabric !== undefined) out.line(`fabric on ${fabric.host}:${fabric.port}`);
  if (doors.tokenPath !== undefined) out.line(`token in ${doors.tokenPath}`);
  if (appliance.spill !== undefined) out.line(describeSpill(appliance.spill));
  if (memoryDir !== undefined) {
    out.line(`regions in ${memoryDir} stay in memory: no tier and no spill file takes their pages`);
  }
  out.line(`started: ${describeStart(appliance.start)}`);
  if (regions.length > 0) out.line(`serving ${regions.join(' ')}`);
}

interface Announced {
  readonly appliance: Appliance;
  readonly shell: Shell;
  readonly json: boolean;
  readonly memoryDir: string | undefined;
}

/**
 * Waits for SIGTERM, SIGINT or SIGHUP, which is as good as SIGTERM: the terminal went, and what was
 * written must not go with it. Which one it was.
 */
function endOf(signal: AbortSignal): Promise<'SIGTERM' | 'SIGINT'> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    // Shell and kernel may both send it, so for good: the second must not end the sync.
    process.on('SIGHUP', () => resolve('SIGTERM'));
    if (signal.aborted) resolve('SIGINT');
    signal.addEventListener('abort', () => resolve('SIGINT'), { once: true });
  });
}

async function serve(files: readonly string[], options: Options, shell: Shell): Promise<void> {
  const ended = endOf(shell.signal);
  const appliance = await Appliance.open({
    socket: options.socket,
    listen: options.listen,
    fabric: options.fabric,
    root: options.root,
    allowUrl: options.allowUrl,
    stateDirectory: options.state,
    memoryDirectory: options.memoryDir,
    tokenFile: options.tokenFile,
    memory: options.memory,
    tiers: options.tier,
    tierTokenFile: options.tierTokenFile,
    overcommit: options.overcommit,
    sessionGraceMs: options.sessionGrace,
    readAhead: options.readAhead,
    ageTickMs: options.ageTick,
    fillThreads: options.fillThreads,
    nicThreads: options.nicThreads,
    pollUs: options.poll,
    regions: files.map((file) => regionOf(file, options)),
    quota: quotaOf(options),
  });
  const memory = memoryOfMachine();
  if (options.memory !== undefined && options.memory > memory) {
    const given = formatSize(options.memory);
    shell.out.note(`--memory ${given} is more than the ${formatSize(memory)} of this machine`);
  }
  const { json = false, memoryDir } = options;
  announce(appliance.doors, { appliance, shell, json, memoryDir });
  const signal = await ended;
  if (signal === 'SIGINT') tellOfSync(appliance, shell);
  const stays = await appliance.close();
  for (const sentence of stays) shell.out.note(sentence);
  // What was asked for by name ends well; what was interrupted says so, once everything is safe.
  const all = stays.length === 0 ? 'all' : 'all else';
  if (signal === 'SIGINT')
    throw new CommanderError(EXIT.interrupted, ENDED, `ended; ${all} is synced`);
}

/** A word for who waits for the end, and one for who does not, where there is anything to sync. */
function tellOfSync(appliance: Appliance, { out, signal }: Shell): void {
  const kept = appliance.regions().filter(({ persist }) => persist);
  const dirty = kept.reduce((sum, { pages }) => sum + pages.dirty, 0);
  if (dirty === 0) return;
  const pages = formatPages(dirty);
  out.note(`syncing ${pages}; a second ^C would not wait for that`);
  // Before the listener that ends the process.
  process.prependListener('SIGINT', () => {
    if (signal.aborted) out.now(`ended before all of ${pages} was synced`);
  });
}

/** Where what is served is, and where it goes when memory is short. */
function withMemory(command: Command): Command {
  return command
    .option(
      '--memory <size>',
      'bound on present pages over all regions (default: half of what is available)',
      size,
    )
    .option(
      '--overcommit <ratio>',
      'bytes allocated at most, as a multiple of --memory (default: no bound)',
      ratio,
    )
    .option(
      '--tier <tier>',
      'where pages go that leave memory: compressed:SIZE, file:DIRECTORY:SIZE, ' +
        'farpage://HOST:PORT/REGION[:SIZE]; repeatable, the nearest first; or none ' +
        '(default: a file in --state of 16 times the memory, half of its free space at most)',
      collect,
    )
    .option('--tier-token-file <file>', 'token for the appliances of these tiers')
    .option(
      '--resident <size>',
      "bound on each named file's present pages (default: --memory)",
      size,
    )
    .addOption(
      new Option(
        '--access <access>',
        'of the files (default: read-write where the file opens so)',
      ).choices(['read-only', 'read-write']),
    )
    .option('--write-behind', 'lets memory pressure write dirty pages to the files')
    .option('--from-token-file <file>', 'token for the servers of the URLs');
}

/** Where clients come in, and what they may name. */
function withDoors(command: Command): Command {
  return command
    .option('--socket <path>', 'control socket (default: farpage.sock in $XDG_RUNTIME_DIR)')
    .option(
      '--listen <host:port>',
      `also serve on TCP; port 0 picks one (default port: ${CONTROL_PORT})`,
      hostPort(CONTROL_PORT),
    )
    .option(
      '--fabric <host:port>',
      'where the fabric accepts on TCP (default: the host of --listen, a free port)',
      hostPort(0),
    )
    .option(
      '--token-file <file>',
      'token that TCP clients must show (default: none on loopback, else one is made)',
    )
    .option('--root <directory>', 'below which TCP clients may name files (default: none)')
    .option(
      '--allow-url <prefix>',
      'URLs that TCP clients may copy from; repeatable (default: none)',
      collect,
    )
    .option(
      '--state <directory>',
      'where catalog, kept regions and token are (default: farpage in $XDG_STATE_HOME)',
    )
    .option('--memory-dir <directory>', 'on a tmpfs: where memory outlives a crash')
    .option(
      '--session-grace <time>',
      `how long a session outlives its connection (default: ${formatAge(GRACE_MS)})`,
      duration,
    );
}

function withSpeed(command: Command): Command {
  return command
    .option(
      '--read-ahead <size>',
      `window of sequential streams; 0 turns it off (default: ${formatSize(READ_AHEAD_BYTES)})`,
      size,
    )
    .option(
      '--age-tick <time>',
      `how finely it is known when pages were used (default: ${formatAge(AGE_TICK_MS)})`,
      duration,
    )
    .option(
      '--fill-threads <n>',
      `threads that read files (default: ${FILL_THREADS})`,
      integer(1, 64),
    )
    .option('--nic-threads <n>', 'event loops of the NIC (default: 1)', integer(1, 64))
    .option(
      '--poll <microseconds>',
      `how long they poll before they sleep (default: ${POLL_US}, 0 on one core)`,
      integer(0, 1_000_000),
    );
}

export function serveCommand(shell: Shell): Command {
  const command = new Command('serve')
    .description('serve files as regions, and regions made by others, until told to end')
    .argument('[file...]', 'FILE or URL, or NAME=FILE for another name than its base name');
  return withSpeed(withQuotas(withDoors(withMemory(command))))
    .option('--json', 'print one JSON object once it is ready')
    .action((files: string[], options: Options) => serve(files, options, shell));
}
