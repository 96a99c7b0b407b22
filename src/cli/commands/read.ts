/** `farpage read`: bytes of a region to stdout or a file. */
import { isAbsolute } from 'node:path';
import { Command } from 'commander';
import type { ExternalRegion } from '../../client/external-region.js';
import type { Limits } from '../../client/limits.js';
import { contextOf } from '../../control/codes.js';
import { FarpageError } from '../../errors.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from '../options.js';
import type { Output } from '../output.js';
import { OutputFile } from '../output-file.js';
import { startProgress } from '../progress.js';
import { limitsOf, openClient } from '../session.js';
import { readRange } from '../transfer.js';

type Options = ConnectionOptions & RangeOptions & { readonly output?: string };

/** Where the file of a region on this machine is: only the Unix socket tells. */
async function fileOf(region: ExternalRegion, limits: Limits): Promise<string | undefined> {
  const { file } = await region.stat(limits);
  return file !== undefined && isAbsolute(file.path) ? file.path : undefined;
}

/** The failure of a read, with what it has left of the file that it was to fill. */
function partly(failure: unknown, file: OutputFile | undefined): unknown {
  const remains = file?.remains;
  if (remains === undefined || !(failure instanceof FarpageError)) return failure;
  const said = contextOf(failure);
  const context = said === '' ? remains : `${said}; ${remains}`;
  return new FarpageError(failure.code, context, { cause: failure });
}

function sinkOf(out: Output, file: OutputFile | undefined) {
  return async (bytes: Uint8Array) => {
    if (file !== undefined) {
      await file.write(bytes);
      return true;
    }
    await out.bytes(bytes);
    return !out.closed;
  };
}

async function read(name: string, options: Options, shell: Shell): Promise<void> {
  const { out } = shell;
  const output = options.output === '-' ? undefined : options.output;
  const toStdout = output === undefined;
  if (toStdout && out.isTerminal && options.length === undefined) {
    const hint = 'to a terminal only with --length; or use --output';
    throw new FarpageError('ERR_ARGUMENT', hint);
  }
  const target = regionTarget(name, options, shell);
  await using client = await openClient(target);
  const limits = limitsOf(target);
  const region = await client.attach(target.region, { access: 'read-only', ...limits });
  const { offset } = options;
  const length = options.length ?? Math.max(region.size - offset, 0);
  if (offset > region.size || length > region.size - offset) {
    throw new FarpageError('ERR_RANGE', `${offset} + ${length} in ${region.size} bytes`);
  }
  await using file =
    output === undefined ? undefined : await OutputFile.open(output, () => fileOf(region, limits));
  try {
    using progress = await startProgress(out, length);
    const sink = sinkOf(out, file);
    let done = 0;
    await readRange(region, {
      offset,
      length,
      limits,
      sink: async (bytes) => {
        const more = await sink(bytes);
        done += bytes.byteLength;
        progress.update(done);
        return more;
      },
    });
    await file?.finish();
  } catch (error) {
    throw partly(error, file);
  }
  if (options.json && !toStdout) {
    out.object({ region: region.name, offset, bytesRead: length, output: options.output });
  }
}

export function readCommand(shell: Shell): Command {
  const command = new Command('read')
    .description('read bytes of a region to stdout or a file')
    .argument('<region>', 'name of the region')
    .option('--output <file>', 'file to write; stdout by default');
  return withConnection(withRange(command)).action((name: string, options: Options) =>
    read(name, options, shell),
  );
}
