/** Where an appliance listens. */
import { rmSync } from 'node:fs';
import type { ControlServer } from '../control/http-server.js';
import type { Endpoints } from '../control/schema.js';
import type { Nic } from '../fabric/nic.js';
import type { ResolvedOptions } from './options.js';

/** Where an appliance listens, and with which token its TCP door is kept. */
export interface Doors {
  readonly socket: string;
  readonly tcp?: { readonly host: string; readonly port: number };
  readonly fabric: Endpoints;
  /** The file with the token that was made because none was given. */
  readonly tokenPath?: string;
}

/** Opens them. ERR_SOCKET_PATH, ERR_APPLIANCE_RUNNING, ERR_ADDRESS_IN_USE. */
export async function openDoors(
  settings: ResolvedOptions,
  { server, nic }: { server: ControlServer; nic: Nic },
): Promise<Doors> {
  const { socket, listen, fabric, tokenPath } = settings;
  await server.listenUnix(socket);
  // The control socket was stale or is new, so the one beside it has no owner either.
  const unix = `${socket}.fabric`;
  rmSync(unix, { force: true });
  nic.listenUnix(unix);
  // First: a fabric on the same host fails for the same reason, on a port that nobody gave.
  const control = listen && { host: listen.host, port: await server.listenTcp(listen) };
  const tcp = fabric && { host: fabric.host, port: nic.listenTcp(fabric) };
  return {
    socket,
    ...(control && { tcp: control }),
    fabric: { unix, ...(tcp && { tcp }) },
    ...(tokenPath !== undefined && { tokenPath }),
  };
}
