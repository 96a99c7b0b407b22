/** Where `farpage write` takes its bytes from: stdin, a file, a pipe or a device. */
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  open,
  openSync,
  readFileSync,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal, type Readable } from 'node:stream';
import { FarpageError } from '../errors.js';
import { MappedInput, openError } from './mapped-input.js';
import { PIECE_BYTES } from './transfer.js';

export interface Input extends AsyncDisposable {
  /** Undefined when nobody can tell beforehand. */
  readonly size: number | undefined;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** Names of stdin; where that is a socket, no other way leads to it. */
const STDIN: readonly (string | undefined)[] = [undefined, '-', '/dev/stdin'];

/**
 * Opens `path`, stdin where there is none. A pipe is waited for until somebody writes there, or the
 * signal. ERR_FILE_NOT_FOUND, ERR_FILE_ACCESS, ERR_FILE_KIND for a directory and the like,
 * ERR_ABORTED.
 */
export async function openInput(path: string | undefined, signal: AbortSignal): Promise<Input> {
  if (path === undefined || STDIN.includes(path)) {
    const pieces: AsyncIterable<Uint8Array> = addAbortSignal(signal, process.stdin);
    return { size: stdinSize(), pieces, [Symbol.asyncDispose]: async () => {} };
  }
  const found = await stat(path).catch((error: unknown) => {
    throw openError(error, path);
  });
  if (found.isFIFO()) {
    // As stdin: a read that waits must not hold the process once it is told to end.
    const fd = await openPipe(path, signal);
    return streamed(new Socket({ fd, readable: true, writable: false }), signal);
  }
  if (found.isCharacterDevice()) {
    return streamed(createReadStream(path, { highWaterMark: PIECE_BYTES }), signal);
  }
  const input = await MappedInput.open(path);
  const close = () => input.close();
  return { size: input.size, pieces: piecesOf(input), [Symbol.asyncDispose]: close };
}

function streamed(stream: Readable, signal: AbortSignal): Input {
  const end = async () => {
    stream.destroy();
  };
  return { size: undefined, pieces: addAbortSignal(signal, stream), [Symbol.asyncDispose]: end };
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

/** Opens a pipe that has a name, once somebody opens it to write; see fifo(7). */
function openPipe(path: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    // No signal ends an open that waits for a writer, but a writer does.
    const release = () => {
      try {
        closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
      } catch {} // Nobody waits any more.
    };
    signal.addEventListener('abort', release, { once: true });
    open(path, 'r', (error, fd) => {
      signal.removeEventListener('abort', release);
      if (error !== null) {
        reject(openError(error, path));
      } else if (signal.aborted) {
        closeSync(fd);
        reject(new FarpageError('ERR_ABORTED', path));
      } else {
        resolve(fd);
      }
    });
  });
}
