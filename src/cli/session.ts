/** A client for the commands that move bytes. */
import { type Client, connect } from '../client/client.js';
import type { Limits } from '../client/limits.js';
import { formatUrl } from '../control/address.js';
import type { Target } from './options.js';

/** The limits of each operation of a command. */
export function limitsOf({ wait }: Target): Limits {
  const { signal, timeoutMs } = wait;
  return { ...(signal && { signal }), ...(timeoutMs !== undefined && { timeoutMs }) };
}

/** Opens a session at the target. */
export async function openClient(target: Target): Promise<Client> {
  const { address, token } = target;
  return await connect(formatUrl(address), { ...limitsOf(target), token: token ?? '' });
}
