/** Options that several commands share, and how their texts are read. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type ApplianceUrl,
  findAppliance,
  noRegionIn,
  parseHostPort,
  parseUrl,
} from '../control/address.js';
import { ControlClient, TIMEOUT_MS, type WaitOptions } from '../control/http-client.js';
import { ERROR_TEXT, FarpageError } from '../errors.js';
import { parseAge, parseSize } from '../units.js';
import type { Output } from './output.js';

/** What every command is given. */
export interface Shell {
  readonly out: Output;
  /** Aborts when the user interrupts. */
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
}

/** Makes a parser's failures usage errors, with the sentence they have. */
function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof FarpageError)) throw error;
      // The whole line will begin with the sentence of ERR_ARGUMENT: once is enough.
      throw new InvalidArgumentError(error.message.replace(`${ERROR_TEXT.ERR_ARGUMENT}: `, ''));
    }
  };
}

export const size = argument((text) => parseSize(text));

/** Milliseconds of `30s`, `10m`, `2h` or `1d`. */
export const age = argument((text) => parseAge(text));

export const hostPort = (defaultPort: number) =>
  argument((text) => parseHostPort(text, defaultPort));

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, '': 1000 };
const DURATION_MS_MAX = 2 ** 31 - 1;

/** Milliseconds of `500ms`, `10s`, `2m`, or a number of seconds. */
export const duration = argument((text) => {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|)$/.exec(text);
  const milliseconds = Math.round(Number(parts?.[1]) * (UNIT_MS[parts?.[2] ?? ''] ?? Number.NaN));
  if (milliseconds >= 1 && milliseconds <= DURATION_MS_MAX) return milliseconds;
  throw new FarpageError('ERR_ARGUMENT', `"${text}" is no time such as 500ms, 10s or 2m`);
});

/** The same, or 0 for no bound. */
export const timeout = (text: string): number => (text === '0' ? 0 : duration(text));

/** A whole number within bounds. */
export const integer = (min: number, max: number) =>
  argument((text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new FarpageError('ERR_ARGUMENT', `"${text}" is no whole number from ${min} to ${max}`);
  });

/** A number above 0, such as 1 or 2.5. */
export const ratio = argument((text) => {
  const value = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && value > 0) return value;
  throw new FarpageError('ERR_ARGUMENT', `"${text}" is no ratio such as 1 or 2.5`);
});

/** `--appliance`, `--token-file`, `--timeout` and `--json`. */
export interface ConnectionOptions {
  readonly appliance?: string;
  readonly tokenFile?: string;
  readonly timeout?: number;
  readonly json?: true;
}

export function withConnection(command: Command): Command {
  return command
    .option('--appliance <url>', 'farpage://HOST[:PORT] or farpage+unix:/PATH (or FARPAGE_URL)')
    .option('--token-file <file>', 'file with the token for TCP (or FARPAGE_TOKEN)')
    .addOption(
      new Option(
        '--timeout <time>',
        'deadline of each operation: 500ms, 10s, 2m; 0 for none (default: 10s, and none for ' +
          'what writes back or moves pages)',
      ).argParser(timeout),
    )
    .option('--json', 'print JSON, one object on a line');
}

export interface RangeOptions {
  readonly offset: number;
  readonly length?: number;
}

/** `--offset` and `--length`, from 0 to the end by default. */
export function withRange(command: Command): Command {
  return command
    .option('--offset <size>', 'first byte', size, 0)
    .option('--length <size>', 'how many bytes; to the end by default', size);
}

/** The range as requests take it. */
export function rangeOf({ offset, length }: RangeOptions): { offset: number; length?: number } {
  return { offset, ...(length !== undefined && { length }) };
}

export interface DirtyOptions {
  readonly sync?: true;
  readonly discard?: true;
}

/** `--sync` or `--discard`: what becomes of dirty pages. */
export function withDirty(command: Command): Command {
  return command
    .addOption(new Option('--sync', 'write dirty pages back first').conflicts('discard'))
    .option('--discard', 'drop dirty pages');
}

export function dirtyOf({ sync, discard }: DirtyOptions): 'sync' | 'discard' | undefined {
  return sync ? 'sync' : discard ? 'discard' : undefined;
}

/** The token of `--token-file`, else of `FARPAGE_TOKEN`. */
export function tokenOf(
  options: Pick<ConnectionOptions, 'tokenFile'>,
  env: NodeJS.ProcessEnv,
): string | undefined {
  const { tokenFile } = options;
  if (tokenFile === undefined) return env.FARPAGE_TOKEN || undefined;
  try {
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (cause) {
    throw new FarpageError('ERR_TOKEN', `${tokenFile} cannot be read`, { cause });
  }
}

/** An appliance to talk to, with what every call to it takes. */
export interface Target extends ApplianceUrl {
  readonly control: ControlClient;
  readonly token: string | undefined;
  readonly wait: WaitOptions;
  /** Of work in proportion to the data: no deadline unless one was asked for. */
  readonly patience: WaitOptions;
}

/** Of each shell, by address and token: many regions of one command need one connection. */
const CLIENTS = new WeakMap<Shell, Map<string, ControlClient>>();

function clientOf(shell: Shell, to: ConstructorParameters<typeof ControlClient>[0]): ControlClient {
  const known = CLIENTS.get(shell) ?? new Map<string, ControlClient>();
  CLIENTS.set(shell, known);
  const key = JSON.stringify([to.address, to.token]);
  const control = known.get(key) ?? new ControlClient(to);
  known.set(key, control);
  return control;
}

/** The appliance that the options and the environment name. */
export function targetOf(options: ConnectionOptions, shell: Shell): Target {
  const { env, signal, out } = shell;
  out.json = options.json === true;
  const url = findAppliance(options.appliance, env);
  const token = tokenOf(options, env);
  const control = clientOf(shell, { address: url.address, token });
  const { timeout = TIMEOUT_MS } = options;
  const patience = { signal, timeoutMs: options.timeout ?? 0 };
  return { ...url, control, token, wait: { signal, timeoutMs: timeout }, patience };
}

/** A region argument may be a name, or a URL that names appliance and region at once. */
export function regionTarget(
  region: string,
  options: ConnectionOptions,
  shell: Shell,
): Target & { readonly region: string } {
  if (!/^farpage(?:\+unix)?:/.test(region)) return { ...targetOf(options, shell), region };
  const named = parseUrl(region).region;
  if (named === undefined) throw noRegionIn(region);
  const { appliance } = options;
  const addressOf = (url: string) => JSON.stringify(parseUrl(url).address);
  if (appliance !== undefined && addressOf(appliance) !== addressOf(region)) {
    const both = `${region} is not of the appliance ${appliance}; name one of them`;
    throw new FarpageError('ERR_ARGUMENT', both);
  }
  return { ...targetOf({ ...options, appliance: region }, shell), region: named };
}
