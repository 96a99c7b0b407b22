/** `farpage create`: a region that comes back after a restart. */
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { RECORD_MS, type RegionBody } from '../../control/schema.js';
import { isWebUrl } from '../../control/web-url.js';
import { formatSize } from '../../units.js';
import {
  age,
  type ConnectionOptions,
  type Shell,
  size,
  targetOf,
  withConnection,
} from '../options.js';

interface Options extends ConnectionOptions {
  readonly file?: string;
  readonly offset?: number;
  readonly length?: number;
  readonly size?: number;
  readonly make?: true;
  readonly fill?: 'zero' | 'one';
  readonly access?: 'read-only' | 'read-write';
  readonly resident?: number;
  readonly writeBehind?: true;
  readonly kind?: 'mapped' | 'staged' | 'anonymous';
  readonly persist?: true;
  readonly atomic?: true;
  readonly reserve?: true;
  readonly from?: string;
  readonly fromTokenFile?: string;
  readonly workingSet?: number | true;
}

function bodyOf(name: string, options: Options, local: boolean): RegionBody {
  const { file, offset, length, size, make, fill, access, resident, writeBehind } = options;
  const { kind, persist, atomic, reserve, from } = options;
  const { fromTokenFile: token, workingSet } = options;
  const workingSetMs = workingSet === true ? RECORD_MS : workingSet;
  const fromTokenFile = token === undefined ? undefined : resolve(token);
  const given = {
    offset,
    length,
    size,
    make,
    fill,
    access,
    resident,
    writeBehind,
    kind,
    persist,
    atomic,
    reserve,
    from,
    fromTokenFile,
    workingSetMs,
  };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  // A path on TCP is one of the appliance's, below its --root.
  const path = file === undefined || !local || isWebUrl(file) ? file : resolve(file);
  return { name, ...(path !== undefined && { file: path }), ...Object.fromEntries(known) };
}

export function createCommand(shell: Shell): Command {
  const command = new Command('create')
    .description('make a region of a file, or of zeros or ones')
    .argument('<name>', 'name of the region')
    .option('--file <file>', 'file to map, or URL of one: http://… or https://…')
    .option('--offset <size>', 'first byte of the file (default: 0)', size)
    .option('--length <size>', 'bytes of the file; to its end by default', size)
    .option('--size <size>', 'size of a region without a file, or of a file to make', size)
    .option('--make', 'make the file if it is missing')
    .addOption(
      new Option('--fill <fill>', 'what it reads as at first (default: zero)').choices([
        'zero',
        'one',
      ]),
    )
    .addOption(
      new Option(
        '--access <access>',
        'of all clients (default: read-write where the file opens so)',
      ).choices(['read-only', 'read-write']),
    )
    .addOption(
      new Option('--kind <kind>', 'of its memory (default: what fits)').choices([
        'mapped',
        'staged',
        'anonymous',
      ]),
    )
    .option('--persist', 'keeps a region without a file over restarts: what was synced comes back')
    .option('--atomic', 'a sync happens wholly or not at all; a file, a copy, or --persist')
    .option('--reserve', 'opens the file only when a client touches it; without a file always so')
    .option('--from <url>', 'what to copy: farpage://HOST[:PORT]/REGION, http(s)://HOST/FILE')
    .option('--from-token-file <file>', 'token for that server, read by the appliance')
    .option('--resident <size>', 'bound on its present pages (default: that of all)', size)
    .option('--working-set [time]', 'record at its first start (2m), replay at later ones', age)
    .option('--write-behind', 'lets memory pressure write dirty pages to the file');
  return withConnection(command).action(async (name: string, options: Options) => {
    const { control, wait, address } = targetOf(options, shell);
    const body = bodyOf(name, options, 'path' in address);
    const region = await control.call('create', { ...wait, body });
    if (options.json) shell.out.object(region);
    else shell.out.line(`${region.name}: ${formatSize(region.size)}, ${region.access}`);
  });
}
