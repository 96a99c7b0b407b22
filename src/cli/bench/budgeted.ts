/** A second appliance with little memory, for as long as a measurement runs. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Client, connect } from '../../client/client.js';
import { ClientSession } from '../../client/client-session.js';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { Serving } from '../serving.js';
import type { Stage } from './stage.js';
import type { Words } from './tool.js';

export class Budgeted implements AsyncDisposable {
  readonly client: Client;
  readonly #folder: string;
  readonly #serving: Serving;
  readonly #session: ClientSession;

  private constructor(options: {
    client: Client;
    folder: string;
    serving: Serving;
    session: ClientSession;
  }) {
    this.client = options.client;
    this.#folder = options.folder;
    this.#serving = options.serving;
    this.#session = options.session;
  }

  /** `more`: further words of `farpage serve`. */
  static async start(
    stage: Stage,
    memoryBytes: number,
    more: readonly string[] = [],
  ): Promise<Budgeted> {
    const folder = join(stage.folder, 'budgeted');
    const doors = ['--socket', join(stage.folder, 'small'), '--listen', '127.0.0.1:0'];
    const words = [...doors, '--state', folder, '--memory', String(memoryBytes), ...more];
    const serving = await Serving.start(words);
    const client = await connect(serving.url, { signal: stage.signal });
    const { address } = findAppliance(serving.tcpUrl);
    const session = new ClientSession(new ControlClient({ address, token: undefined }));
    await session.open({ signal: stage.signal });
    return new Budgeted({ client, folder, serving, session });
  }

  get url(): string {
    return this.#serving.url;
  }

  /** What the C++ initiator needs to reach a region over TCP. */
  async reach(region: string): Promise<Words> {
    const { reply } = await this.#session.attach({ region }, {});
    const { host, port, ticket } = await this.#session.door();
    const hex = Buffer.from(ticket ?? []).toString('hex');
    return { connect: `tcp:${host}:${port}`, stag: reply.stag, ticket: hex };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.close({});
    await this.client.close();
    await this.#serving.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
