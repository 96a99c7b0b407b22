/** Where appliances are found: URLs, the environment, and the default socket. */
import { tmpdir, userInfo } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { FarpageError } from '../errors.js';
import type { ControlAddress } from './http-client.js';
import { checkSocketPath } from './listen.js';
import type { Endpoints } from './schema.js';

export const CONTROL_PORT = 7433;

/** What a URL names: an appliance, and perhaps one of its regions. */
export interface ApplianceUrl {
  readonly address: ControlAddress;
  readonly region?: string;
}

/** `$XDG_RUNTIME_DIR/farpage.sock`, else one in a folder of the user's under the temporary one. */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env.XDG_RUNTIME_DIR;
  if (runtime !== undefined && isAbsolute(runtime)) return join(runtime, 'farpage.sock');
  return join(tmpdir(), `farpage-${userInfo().uid}`, 'farpage.sock');
}

function bad(text: string, why: string): FarpageError {
  return new FarpageError('ERR_ARGUMENT', `"${text}" ${why}`);
}

function parsePort(text: string, url: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw bad(url, 'has a port that is none; use 0 to 65535');
}

function decode(part: string, url: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw bad(url, 'has a % that begins no code; write it as %25');
  }
}

function withRegion(address: ControlAddress, region: string | undefined): ApplianceUrl {
  return region === undefined || region === '' ? { address } : { address, region };
}

/**
 * Reads `farpage://host[:port][/region]` or `farpage+unix:/path[?region=name]`. ERR_ARGUMENT for
 * anything else, and for URLs with a user or password in them: secrets do not belong there.
 */
export function parseUrl(text: string): ApplianceUrl {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    const forms = 'is no URL; use farpage://host:port or farpage+unix:/path';
    throw new FarpageError('ERR_ARGUMENT', `"${text}" ${forms}`, { cause });
  }
  if (url.username !== '' || url.password !== '') throw bad(url.host, 'may not contain a secret');
  if (url.protocol === 'farpage+unix:') {
    const path = decode(url.pathname, text);
    if (url.host !== '' || !isAbsolute(path)) {
      throw bad(text, `needs an absolute path, as in ${formatUrl({ path: resolve(path) })}`);
    }
    checkSocketPath(path);
    return withRegion({ path }, url.searchParams.get('region') ?? undefined);
  }
  if (url.protocol !== 'farpage:')
    throw bad(text, 'is neither farpage://HOST[:PORT] nor farpage+unix:/PATH');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (host === '') throw bad(text, 'names no host');
  const port = url.port === '' ? CONTROL_PORT : parsePort(url.port, text);
  return withRegion({ host, port }, decode(url.pathname.slice(1), text));
}

/** ERR_ARGUMENT for a URL that leads to an appliance where one of its regions is wanted. */
export function noRegionIn(url: string): FarpageError {
  return bad(
    url,
    'names no region; write farpage://HOST/REGION or farpage+unix:/PATH?region=REGION',
  );
}

/** `host:port`, `[v6]:port`, or `host` with the default port; ERR_ARGUMENT for anything else. */
export function parseHostPort(text: string, defaultPort: number): { host: string; port: number } {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  if (host === undefined) throw bad(text, 'is not HOST:PORT');
  return { host, port: parts?.[3] === undefined ? defaultPort : parsePort(parts[3], text) };
}

const WILDCARDS: readonly string[] = ['0.0.0.0', '::'];

/**
 * The fabric's door beside a control door: a Unix socket for a Unix socket, else TCP.
 * ERR_CONNECTION when the appliance has none of that kind.
 */
export function fabricDoorOf(
  address: ControlAddress,
  fabric: Endpoints,
): { path: string } | { host: string; port: number } {
  if ('path' in address) {
    if (fabric.unix !== undefined) return { path: fabric.unix };
  } else if (fabric.tcp !== undefined) {
    const { host, port } = fabric.tcp;
    // An appliance on all its addresses does not know which of them leads to it from here.
    return { host: WILDCARDS.includes(host) ? address.host : host, port };
  }
  throw new FarpageError('ERR_CONNECTION', 'the appliance has no fabric door of this kind');
}

/** The URL of an address, for people and for `FARPAGE_URL`. */
export function formatUrl(address: ControlAddress): string {
  // Each part for itself: encodeURI leaves `?` and `#` as they are, where a URL's path ends.
  if ('path' in address) {
    return `farpage+unix:${address.path.split('/').map(encodeURIComponent).join('/')}`;
  }
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `farpage://${host}:${address.port}`;
}

/** What was given, else `FARPAGE_URL`, else the default socket. */
export function findAppliance(
  url: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ApplianceUrl {
  const text = url ?? env.FARPAGE_URL;
  return text === undefined || text === ''
    ? { address: { path: defaultSocketPath(env) } }
    : parseUrl(text);
}
