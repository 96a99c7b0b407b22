/**
 * The only file that loads the addon. It is loaded on first use, so that what needs no native code
 * (help, usage errors, talking to the control plane) works and starts without it.
 */
import { createRequire } from 'node:module';
import { getSystemErrorMap } from 'node:util';
import { FarpageError, isErrorCode } from '../errors.js';
import type { NativeBinding, NativeFailure } from './binding.js';
import { packagePath } from './package-path.js';

/** Must be `kBindingVersion` of native/base/version.h. */
export const BINDING_VERSION = 1;

/** Never throws expected failures and is called for every wait: it stays as it is. */
const HOT: readonly string[] = ['queuePairWait'];

let loaded: NativeBinding | undefined;

function addonPath(): string {
  const tree = process.env.FARPAGE_TREE ?? 'release';
  const folder = tree === 'release' ? 'build/Release' : `.build/${tree}/build/Release`;
  return packagePath(`${folder}/farpage.node`);
}

/** The `FarpageError` of what the addon threw; other values (a bug's TypeError) stay themselves. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof FarpageError) return error;
  const { code, context, errno } = error as Partial<NativeFailure>;
  if (!isErrorCode(code)) return error;
  const what = context ?? error.message;
  if (!errno) return new FarpageError(code, what, { cause: error });
  const [name, words] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'system error'];
  return new FarpageError(code, `${what}: ${words} (${name})`, { cause: error });
}

type Callable = (...values: unknown[]) => unknown;

/** The same function, whose failures, thrown or rejected, are FarpageErrors. */
function translated(call: Callable): Callable {
  return (...values) => {
    try {
      const result = call(...values);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        throw fromNative(error);
      });
    } catch (error) {
      throw fromNative(error);
    }
  };
}

function check(addon: NativeBinding, path: string): void {
  if (addon.bindingVersion !== BINDING_VERSION) {
    const found = `${path} has binding version ${addon.bindingVersion}, not ${BINDING_VERSION}`;
    throw new FarpageError('ERR_NATIVE_MISSING', found);
  }
  const [ok, ...codes] = addon.errorCodes;
  const unknown = codes.filter((code) => !isErrorCode(code));
  if (ok === 'OK' && unknown.length === 0) return;
  throw new FarpageError('ERR_NATIVE_MISSING', `${path} knows other codes: ${unknown.join(' ')}`);
}

function load(path: string): NativeBinding {
  try {
    return createRequire(import.meta.url)(path) as NativeBinding;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    throw new FarpageError('ERR_NATIVE_MISSING', reason, { cause });
  }
}

/**
 * The native half. ERR_NATIVE_MISSING when the addon is not there, is of another version, or knows
 * codes that the registry does not.
 */
export function native(): NativeBinding {
  if (loaded !== undefined) return loaded;
  const path = addonPath();
  const addon = load(path);
  check(addon, path);
  const entries = Object.entries(addon).map(([name, value]) => [
    name,
    typeof value === 'function' && !HOT.includes(name) ? translated(value as Callable) : value,
  ]);
  loaded = Object.freeze(Object.fromEntries(entries)) as NativeBinding;
  return loaded;
}
