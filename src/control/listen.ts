/** Binding of control doors: Unix sockets that replace the stale and refuse the live, and TCP. */
import { chmodSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { basename, dirname } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { FarpageError } from '../errors.js';
import { makeDirectories } from './make-directories.js';
import { systemReason } from './system-reason.js';

/** `sockaddr_un.sun_path` has 108 bytes and ends in a zero (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = 107;
/** How long a socket that may be live is given to accept. */
const PROBE_MS = 1000;

function isCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** ERR_SOCKET_PATH when the path does not fit the kernel's structure. */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= SOCKET_PATH_BYTES_MAX) return;
  throw new FarpageError('ERR_SOCKET_PATH', `${path} has ${length} bytes`);
}

function listen(server: Server, options: { path: string } | { host: string; port: number }) {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether somebody accepts on a Unix socket; a refusal means that its owner is gone. */
export function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path, timeout: PROBE_MS });
    const end = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.once('connect', () => end(true));
    // A full backlog (EAGAIN) or a missing right (EACCES) belongs to a socket that lives.
    socket.once('error', (error) => end(!isCode(error, 'ECONNREFUSED', 'ENOENT', 'ENOTSOCK')));
    socket.once('timeout', () => end(true));
  });
}

/**
 * Takes a name of this machine that the kernel gives back when the process ends, however it ends:
 * an abstract Unix socket (unix(7)). Undefined when somebody else has it. Between network
 * namespaces it does not hold; there the probe of the socket itself does.
 */
export async function takeName(name: string): Promise<AsyncDisposable | undefined> {
  const server = createServer((socket) => socket.destroy());
  try {
    await listen(server, { path: `\0farpage/${name}` });
  } catch (error) {
    if (isCode(error, 'EADDRINUSE')) return undefined;
    throw new FarpageError('ERR_IO', `taking the name ${name}`, { cause: error });
  }
  server.unref();
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { [Symbol.asyncDispose]: close };
}

function unusable(path: string, cause: unknown): FarpageError {
  return new FarpageError('ERR_SOCKET_PATH', `${path}: ${systemReason(cause)}`, { cause });
}

function lookAt(path: string) {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw unusable(path, error);
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lookAt(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new FarpageError('ERR_SOCKET_PATH', `${path} is no socket`);
  if (await isLive(path)) throw new FarpageError('ERR_APPLIANCE_RUNNING', path);
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw new FarpageError('ERR_IO', path, { cause: error });
  }
}

/**
 * Listens on a Unix socket of mode 0600. A stale socket is replaced; ERR_APPLIANCE_RUNNING when
 * it is live, ERR_SOCKET_PATH when the path is too long or names something else.
 */
export async function listenUnix(server: Server, path: string): Promise<void> {
  checkSocketPath(path);
  const folder = dirname(path);
  try {
    makeDirectories(folder);
  } catch (error) {
    throw unusable(folder, error);
  }
  const { dev, ino } = statSync(folder);
  // Held while the path is looked at and bound, so that two starts cannot both replace it.
  await using name = await takeName(`socket/${dev}/${ino}/${basename(path)}`);
  if (name === undefined) throw new FarpageError('ERR_APPLIANCE_RUNNING', path);
  await removeStale(path);
  // bind() runs within listen(), so no other file is made under this umask; workers have none.
  const umask = isMainThread ? process.umask(0o177) : undefined;
  try {
    const bound = listen(server, { path });
    if (umask !== undefined) process.umask(umask);
    await bound;
  } catch (error) {
    if (!isCode(error, 'EADDRINUSE')) throw unusable(path, error);
    throw new FarpageError('ERR_APPLIANCE_RUNNING', path, { cause: error });
  }
  chmodSync(path, 0o600);
}

/** Listens on TCP and returns the port; ERR_ADDRESS_IN_USE, ERR_ARGUMENT for other failures. */
export async function listenTcp(
  server: Server,
  options: { host: string; port: number },
): Promise<number> {
  try {
    await listen(server, options);
  } catch (error) {
    const code = isCode(error, 'EADDRINUSE') ? 'ERR_ADDRESS_IN_USE' : 'ERR_ARGUMENT';
    const where = `${options.host}:${options.port}: ${systemReason(error)}`;
    throw new FarpageError(code, where, { cause: error });
  }
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : options.port;
}
