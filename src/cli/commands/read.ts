/** `farpage read`: bytes of a region to stdout or a file. */
import { type FileHandle, open } from 'node:fs/promises';
import { Command } from 'commander';
import { systemReason } from '../../control/system-reason.js';
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
import { startProgress } from '../progress.js';
import { limitsOf, openClient } from '../session.js';
import { readRange } from '../transfer.js';

type Options = ConnectionOptions & RangeOptions & { readonly output?: string };

async function openOutput(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'w');
  } catch (cause) {
    throw new FarpageError('ERR_FILE_ACCESS', `${path}: ${systemReason(cause)}`, { cause });
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await file
      .write(bytes, done, bytes.byteLength - done)
      .catch((cause) => {
        const why = `--output took not all of it: ${systemReason(cause)}`;
        throw new FarpageError('ERR_IO', why, { cause });
      });
    done += bytesWritten;
  }
}

function sinkOf(out: Output, file: FileHandle | undefined) {
  return async (bytes: Uint8Array) => {
    if (file !== undefined) {
      await writeAll(file, bytes);
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
  const file = output === undefined ? undefined : await openOutput(output);
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
  } finally {
    await file?.close();
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
