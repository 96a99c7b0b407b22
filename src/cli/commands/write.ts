/** `farpage write`: bytes of stdin or a file into a region. */
import { fstatSync, readFileSync } from 'node:fs';
import { addAbortSignal } from 'node:stream';
import { Command } from 'commander';
import { FarpageError } from '../../errors.js';
import { MappedInput } from '../mapped-input.js';
import {
  type ConnectionOptions,
  regionTarget,
  type Shell,
  size,
  withConnection,
} from '../options.js';
import { startProgress } from '../progress.js';
import { limitsOf, openClient } from '../session.js';
import { PIECE_BYTES, writeRange } from '../transfer.js';

type Options = ConnectionOptions & { readonly offset: number; readonly input?: string };

interface Source extends AsyncDisposable {
  /** Undefined when nobody can tell beforehand. */
  readonly size: number | undefined;
  readonly pieces: AsyncIterable<Uint8Array>;
}

async function* piecesOf(input: MappedInput): AsyncIterable<Uint8Array> {
  for (let offset = 0; offset < input.size; offset += PIECE_BYTES) {
    yield await input.read(offset, Math.min(PIECE_BYTES, input.size - offset));
  }
}

/** Bytes from where stdin stands to its end, when it is a file. */
function stdinSize(): number | undefined {
  const found = fstatSync(0);
  if (!found.isFile()) return undefined;
  const position = /^pos:\s*(\d+)/m.exec(readFileSync('/proc/self/fdinfo/0', 'utf8'))?.[1];
  return Math.max(found.size - Number(position ?? 0), 0);
}

async function openSource(path: string | undefined, signal: AbortSignal): Promise<Source> {
  if (path === undefined || path === '-') {
    const pieces: AsyncIterable<Uint8Array> = addAbortSignal(signal, process.stdin);
    return { size: stdinSize(), pieces, [Symbol.asyncDispose]: async () => {} };
  }
  const input = await MappedInput.open(path);
  const close = () => input.close();
  return { size: input.size, pieces: piecesOf(input), [Symbol.asyncDispose]: close };
}

async function write(name: string, options: Options, shell: Shell): Promise<void> {
  const target = regionTarget(name, options, shell);
  const limits = limitsOf(target);
  await using source = await openSource(options.input, shell.signal);
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
    .description('write bytes of stdin or a file into a region; the file changes on flush and sync')
    .argument('<region>', 'name of the region')
    .option('--offset <size>', 'first byte', size, 0)
    .option('--input <file>', 'file to write; stdin by default');
  return withConnection(command).action((name: string, options: Options) =>
    write(name, options, shell),
  );
}
