/** What the measurements work on: an appliance in a process of its own and the raw servers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attached } from '../../client/attached.js';
import { type Client, connect } from '../../client/client.js';
import { ClientSession } from '../../client/client-session.js';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { FarpageError } from '../../errors.js';
import { Serving } from '../serving.js';
import { PLACEMENTS, type PlacementName } from './placement.js';
import { QuietGate } from './quiet.js';
import { type Line, RawServer, runTool, type Words } from './tool.js';

export type Transport = 'tcp' | 'unix';

export interface StageOptions {
  readonly placement: PlacementName;
  readonly rounds: number;
  /** How long each round of a measurement over a connection counts. */
  readonly durationMs: number;
  /** Bytes of the files that are measured. */
  readonly fileBytes: number;
  /** How long all rounds together may wait for the machine's other users. */
  readonly quietMs: number;
  readonly signal: AbortSignal;
}

/** The memory that both sides lend: the raw server has as much. */
export const AREA_BYTES = 64 * 1024 * 1024;
const TARGETS = { pattern: 'bench', scratch: 'scratch' } as const;

export class Stage implements AsyncDisposable {
  readonly options: StageOptions;
  /** Removed with everything in it at the end, however that comes. */
  readonly folder: string;
  /** What to close at the end, the last first; Node 20 has no AsyncDisposableStack. */
  readonly #closers: (() => unknown)[] = [];
  readonly #onExit = () => rmSync(this.folder, { recursive: true, force: true });
  readonly #quiet: QuietGate;
  readonly #sessions = new Map<Transport, ClientSession>();
  readonly #attached = new Map<string, Attached>();
  readonly #clients = new Map<Transport, Client>();
  readonly #rawServers = new Map<Transport, RawServer>();
  #serving: Serving | undefined;

  private constructor(options: StageOptions) {
    this.options = options;
    this.#quiet = new QuietGate(options.quietMs);
    this.folder = mkdtempSync(join(process.env.TMPDIR ? tmpdir() : '/var/tmp', 'farpage-bench-'));
    process.on('exit', this.#onExit);
  }

  /** Starts the appliance with two present regions, one of them holding the pattern. */
  static async open(options: StageOptions): Promise<Stage> {
    const stage = new Stage(options);
    try {
      await stage.#start();
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  get signal(): AbortSignal {
    return this.options.signal;
  }

  get serving(): Serving {
    if (this.#serving === undefined) throw new FarpageError('ERR_CLOSED', 'stage');
    return this.#serving;
  }

  get placement() {
    return PLACEMENTS[this.options.placement];
  }

  /** Before every round: waits for others on the machine, within the budget. */
  quiet(): Promise<void> {
    return this.#quiet.pass(this.signal);
  }

  run(command: string, words: Words): Promise<readonly Line[]> {
    this.signal.throwIfAborted();
    return runTool(command, words, this.signal);
  }

  /** A client of the library in this process. */
  async client(transport: Transport): Promise<Client> {
    const known = this.#clients.get(transport);
    if (known !== undefined) return known;
    const client = await connect(this.#url(transport), { signal: this.signal });
    this.#closers.push(() => client.close());
    this.#clients.set(transport, client);
    return client;
  }

  /** What the C++ initiator needs to reach a region with a connection of its own. */
  async reach(transport: Transport, region: string): Promise<Words> {
    const session = await this.#session(transport);
    const key = `${transport}/${region}`;
    const attached =
      this.#attached.get(key) ?? (await session.attach({ region }, { signal: this.signal }));
    this.#attached.set(key, attached);
    const { path, host, port, ticket } = await session.door();
    const connect = path === undefined ? `tcp:${host}:${port}` : `unix:${path}`;
    return {
      connect,
      stag: attached.reply.stag,
      ticket: Buffer.from(ticket ?? []).toString('hex'),
    };
  }

  /** A region that was reached is removed: its name may be another one's next. */
  forget(region: string): void {
    for (const transport of ['tcp', 'unix']) this.#attached.delete(`${transport}/${region}`);
  }

  /** Removes a region that was reached; what is dirty in it is of no use to anybody. */
  async remove(region: string): Promise<void> {
    this.forget(region);
    await (await this.client('unix')).remove(region, { dirty: 'discard', signal: this.signal });
  }

  /** The address of the raw server of a transport, on the server's core. */
  async rawServer(transport: Transport): Promise<string> {
    const known = this.#rawServers.get(transport);
    if (known !== undefined) return known.address;
    const { mode, serverCore } = this.placement;
    const listen = transport === 'tcp' ? 'tcp:0' : `unix:@farpage-bench-${process.pid}`;
    const server = await RawServer.start({ listen, mode, core: serverCore }, this.signal);
    this.#closers.push(() => server[Symbol.dispose]());
    this.#rawServers.set(transport, server);
    return server.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const close of this.#closers.splice(0).reverse()) await close();
    } finally {
      process.off('exit', this.#onExit);
      this.#onExit();
    }
  }

  async #start(): Promise<void> {
    const { folder } = this;
    const doors = ['--socket', join(folder, 'socket'), '--state', join(folder, 'state')];
    const words = [...doors, '--listen', '127.0.0.1:0'];
    if (this.placement.mode === 'sleeping') words.push('--poll', '0');
    const serving = await Serving.start(words);
    this.#closers.push(() => serving.end());
    this.#serving = serving;
    const client = await this.client('unix');
    for (const name of Object.values(TARGETS)) {
      await client.create({ name, size: AREA_BYTES, fill: 'zero' });
      const words = await this.reach('unix', name);
      await this.run('initiator', {
        ...words,
        pattern: 'fill',
        span: AREA_BYTES,
        mode: 'adaptive',
      });
    }
    await this.#pin();
  }

  /** Runs `body` with the appliance on all cores: where its other threads work too, a NIC that is
   * kept on one core would wait behind them. */
  async unpinned<T>(body: () => Promise<T>): Promise<T> {
    await this.run('pin', { pid: this.serving.pid });
    try {
      return await body();
    } finally {
      await this.#pin();
    }
  }

  /** Puts the NIC on the server's core; where both sides have one core, the whole appliance. */
  async #pin(): Promise<void> {
    const { serverCore, clientCore } = this.placement;
    const threads = serverCore === clientCore ? {} : { threads: 'nic-' };
    await this.run('pin', { pid: this.serving.pid, cores: serverCore, ...threads });
  }

  #url(transport: Transport): string {
    const url = transport === 'unix' ? this.serving.url : this.serving.tcpUrl;
    if (url === undefined) throw new FarpageError('ERR_INTERNAL', `no ${transport} door`);
    return url;
  }

  async #session(transport: Transport): Promise<ClientSession> {
    const known = this.#sessions.get(transport);
    if (known !== undefined) return known;
    const { address } = findAppliance(this.#url(transport));
    const session = new ClientSession(new ControlClient({ address, token: undefined }));
    await session.open({ signal: this.signal });
    this.#closers.push(() => session.close({}));
    this.#sessions.set(transport, session);
    return session;
  }
}
