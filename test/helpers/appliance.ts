/** An appliance of the running test's own, in this process, with everything in a scratch folder. */
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { Appliance } from '../../src/appliance/appliance.js';
import type { ApplianceOptions } from '../../src/appliance/options.js';
import { type Client, connect } from '../../src/client/client.js';
import { ControlClient } from '../../src/control/http-client.js';
import { scratch } from './scratch.js';

export interface Served {
  readonly appliance: Appliance;
  readonly folder: string;
  /** URL of its Unix socket. */
  readonly url: string;
  readonly control: ControlClient;
}

/** Opens it; it is closed without a sync when the test is over, unless the test closed it. */
export async function serveAppliance(
  options: ApplianceOptions = {},
  folder: string = scratch(),
): Promise<Served> {
  const socket = join(folder, 's');
  const stateDirectory = join(folder, 'state');
  const appliance = await Appliance.open({ socket, stateDirectory, memory: '64MiB', ...options });
  const control = new ControlClient({ address: { path: socket } });
  onTestFinished(async () => {
    control.close();
    await appliance.close({ sync: false });
  });
  return { appliance, folder, url: `farpage+unix:${socket}`, control };
}

/** Connects a client that is closed when the test is over. */
export async function connectClient(url: string, token?: string): Promise<Client> {
  const client = await connect(url, token === undefined ? {} : { token });
  onTestFinished(() => client.close());
  return client;
}
