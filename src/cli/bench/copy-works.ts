/** Copies of a region of a second appliance: their faults, their pulls, and both at once. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Client, connect } from '../../client/client.js';
import { ClientSession } from '../../client/client-session.js';
import type { ExternalRegion } from '../../client/external-region.js';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { FarpageError } from '../../errors.js';
import { Serving } from '../serving.js';
import { makeFile } from './files.js';
import { formatFigure } from './render.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { figure, type Words } from './tool.js';
import { rounds, type Work } from './work.js';

const MIB = 1024 * 1024;
const PAGE = 4096;
const SOURCE_BYTES = 512 * MIB;
/** Touched while the rest is pulled, so that no pull takes the faults away that are measured. */
const TOUCHED_BYTES = 128 * MIB;
const COLD_READS = 8000;
const COLD_DEPTH = 16;
const FAULTS = 1000;
const PULL_MS = 60_000;
const PLACEMENT = 'two cores, not pinned';

/** The second appliance, whose regions are copies of one of the stage's, over TCP. */
class Copies implements AsyncDisposable {
  readonly #stage: Stage;
  readonly #folder: string;
  readonly #serving: Serving;
  readonly #client: Client;
  readonly #session: ClientSession;

  private constructor(options: {
    stage: Stage;
    folder: string;
    serving: Serving;
    client: Client;
    session: ClientSession;
  }) {
    this.#stage = options.stage;
    this.#folder = options.folder;
    this.#serving = options.serving;
    this.#client = options.client;
    this.#session = options.session;
  }

  /** Starts it beside a source all of whose pages are present. */
  static async open(stage: Stage): Promise<Copies> {
    const source = await stage.client('unix');
    const { signal } = stage;
    await source.create({ name: 'source', size: SOURCE_BYTES, fill: 'one' }, { signal });
    const region = await source.attach('source');
    await region.prefetch({ wait: true, signal });
    await region.detach();
    const folder = join(stage.folder, 'copies');
    const doors = ['--socket', join(stage.folder, 'second'), '--state', folder];
    const serving = await Serving.start([...doors, '--listen', '127.0.0.1:0']);
    const client = await connect(serving.url, { signal });
    const { address } = findAppliance(serving.tcpUrl);
    const session = new ClientSession(new ControlClient({ address, token: undefined }));
    await session.open({ signal });
    return new Copies({ stage, folder, serving, client, session });
  }

  /** Runs `body` on a new copy that has no page yet. */
  async fresh<T>(source: string, body: (copy: ExternalRegion) => Promise<T>): Promise<T> {
    const { signal, serving } = this.#stage;
    const from = `${serving.tcpUrl}/${source}`;
    await this.#client.create({ name: 'copy', from }, { signal });
    try {
      return await body(await this.#client.attach('copy'));
    } finally {
      await this.#client.remove('copy', { dirty: 'discard' });
    }
  }

  /** What the C++ initiator needs to reach the copy. */
  async reach(): Promise<Words> {
    const { reply } = await this.#session.attach(
      { region: 'copy' },
      { signal: this.#stage.signal },
    );
    const { host, port, ticket } = await this.#session.door();
    const hex = Buffer.from(ticket ?? []).toString('hex');
    return { connect: `tcp:${host}:${port}`, stag: reply.stag, ticket: hex };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.close({});
    await this.#client.close();
    await this.#serving.end();
    await this.#stage.remove('source');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function cold(stage: Stage): Promise<Row[]> {
  await using copies = await Copies.open(stage);
  const { fileBytes, signal } = stage.options;
  const file = join(stage.folder, 'data');
  const client = await stage.client('unix');
  // The same READs of the same file, cold each time: of the source, and of a copy of it.
  const visits = (seed: number) => {
    const reads = { sizes: PAGE, depths: COLD_DEPTH, visit: COLD_READS, seed };
    return { ...reads, 'region-size': fileBytes, mode: 'adaptive' };
  };
  const withCold = async <T>(body: () => Promise<T>): Promise<T> => {
    await stage.run('cache', { file, state: 'cold' });
    await client.create({ name: 'visited', file, access: 'read-only' });
    try {
      return await body();
    } finally {
      await stage.remove('visited');
    }
  };
  try {
    await makeFile(file, fileBytes, signal);
    const told = await rounds(stage, async (number) => {
      const words = visits(number + 1);
      const [raw] = await withCold(async () => {
        return await stage.run('initiator', { ...words, ...(await stage.reach('tcp', 'visited')) });
      });
      const [own] = await withCold(() =>
        copies.fresh('visited', async () => {
          return await stage.run('initiator', { ...words, ...(await copies.reach()) });
        }),
      );
      return { raw: figure(raw, 'opsPerSecond'), farpage: figure(own, 'opsPerSecond') };
    });
    const work = 'cold READs 4KiB of a copy of a file, tcp, depth 16, beside those of its source';
    const target = { of: 'ratio', least: 0.45 } as const;
    return [makeRow({ name: 'copy-cold', work, placement: PLACEMENT, unit: '/s', target }, told)];
  } finally {
    rmSync(file, { force: true });
  }
}

async function pull(stage: Stage): Promise<Row[]> {
  await using copies = await Copies.open(stage);
  const kept: number[] = [];
  const told = await rounds(stage, async () => {
    const file = join(stage.folder, 'kept');
    const [keep] = await stage.run('keep', { file, size: SOURCE_BYTES });
    kept.push(figure(keep, 'bytesPerSecond'));
    const bulk = { sizes: MIB, depths: 16, 'duration-ms': 300 };
    const direct = await stage.reach('tcp', 'source');
    const [raw] = await stage.run('initiator', { ...bulk, ...direct, mode: 'adaptive' });
    return await copies.fresh('source', async (copy) => {
      const { signal } = stage;
      const { elapsedMs, state } = await copy.prefetch({ wait: true, signal });
      if (state !== 'done') throw new FarpageError('ERR_INTERNAL', `the pull is ${state}`);
      const farpage = (SOURCE_BYTES / elapsedMs) * 1000;
      return { raw: figure(raw, 'bytesPerSecond'), farpage };
    });
  });
  const work =
    'pull of a copy, tcp, until it is durable, beside READs 1MiB of its source, depth 16';
  const target = { of: 'ratio', least: 0.8 } as const;
  const bound = formatFigure(median(kept), 'B/s');
  const note = `fresh memory and a durable file, without receiving: ${bound}`;
  const head = { name: 'pull', work, placement: PLACEMENT, unit: 'B/s', target } as const;
  return [makeRow({ ...head, note }, told)];
}

async function besidePull(stage: Stage): Promise<Row[]> {
  await using copies = await Copies.open(stage);
  let short = 0;
  const told = await rounds(stage, (seed) =>
    copies.fresh('source', async (copy) => {
      const reads = { sizes: PAGE, visit: FAULTS, 'region-size': TOUCHED_BYTES, mode: 'adaptive' };
      const words = { ...reads, ...(await copies.reach()) };
      const [raw] = await stage.run('initiator', { ...words, seed: 2 * seed + 1 });
      const again = { ...words, ...(await copies.reach()), seed: 2 * seed + 2 };
      const range = { offset: TOUCHED_BYTES, timeoutMs: PULL_MS };
      const begun = await copy.prefetch(range);
      const [own] = await stage.run('initiator', again);
      const now = await copy.prefetch(range);
      if (now.id !== begun.id) short++;
      await copy.cancelPrefetch();
      return { raw: figure(raw, 'p50Us'), farpage: figure(own, 'p50Us') };
    }),
  );
  const work = 'cold READ 4KiB of a copy, tcp, p50, while another part is pulled, beside without';
  const note = short > 0 ? `the pull was over before the READs in ${short} rounds` : undefined;
  const target = { of: 'ratio', most: 2 } as const;
  const head = { name: 'beside-pull', work, placement: PLACEMENT, unit: 'us', target } as const;
  return [makeRow({ ...head, note }, told)];
}

/** Each needs room for a copy of its own, whatever the size of files. */
const workOf = (name: string, run: (stage: Stage) => Promise<Row[]>): Work => ({
  name,
  quick: false,
  files: 1,
  run: (stage) => stage.unpinned(() => run(stage)),
});

export const COPY_WORKS: readonly Work[] = [
  workOf('copy-cold', cold),
  workOf('pull', pull),
  workOf('beside-pull', besidePull),
];
