/** `farpage write`: bytes of stdin or a file into a region. */
import { Command } from 'commander';
import { FarpageError } from '../../errors.js';
import { openInput } from '../input.js';
import {
  type ConnectionOptions,
  regionTarget,
  type Shell,
  size,
  withConnection,
} from '../options.js';
import { startProgress } from '../progress.js';
import { limitsOf, openClient } from '../session.js';
import { writeRange } from '../transfer.js';

type Options = ConnectionOptions & { readonly offset: number; readonly input?: string };

async function write(name: string, options: Options, shell: Shell): Promise<void> {
  const target = regionTarget(name, options, shell);
  const limits = limitsOf(target);
  await using source = await openInput(options.input, shell.signal);
  await using client = await openClient(target);
  const region = await client.attach(target.region, { access: 'read-write', ...limits });
  const { offset } = options;
  if (offset > region.size || (source.size ?? 0) > region.size - offset) {
    throw new FarpageError('ERR_RANGE', `${offset} + ${source.size ?? 0} in ${region.size} bytes`);
  }
  using progress = await startProgress(shell.out, source.size ?? 0);
  const bytesWritten = await writeRange(region, {
    offset,
    limits,
    source: source.pieces,
    onWritten: (total) => progress.update(total),
  });
  if (options.json) shell.out.object({ region: region.name, offset, bytesWritten });
}

export function writeCommand(shell: Shell): Command {
  const command = new Command('write')
    .description(
      'write bytes of stdin, a file or a pipe into a region; the file changes on flush and sync',
    )
    .argument('<region>', 'name of the region')
    .option('--offset <size>', 'first byte', size, 0)
    .option('--input <file>', 'file or pipe to write; stdin by default');
  return withConnection(command).action((name: string, options: Options) =>
    write(name, options, shell),
  );
}
