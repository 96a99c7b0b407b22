/** Pages that go into a tier and come back from it. */
import { rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { FarpageError } from '../../errors.js';
import { Budgeted } from './budgeted.js';
import { formatFigure } from './render.js';
import { makeRow, type Round, type Row } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { figure } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const MIB = 1024 ** 2;
const DATA_BYTES = 128 * MIB;
const RECORD_BYTES = 64;
/** One WRITE of a tier elsewhere, at most. */
const POOL_WRITE_BYTES = 256 * 1024;
const PLACEMENT = 'two cores, not pinned';

/** Records of text such as programs keep: LZ4 makes a third to a half of them. */
function records(length: number): Buffer {
  const bytes = Buffer.alloc(length, ' ');
  let state = 1;
  for (let at = 0; at < length; at += RECORD_BYTES) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const rest = `"value":${state},"state":"ready","next":${state % 977}}`;
    const text = `{"id":${at / RECORD_BYTES},${rest}`;
    bytes.write(text.slice(0, RECORD_BYTES - 1), at, 'latin1');
    bytes[at + RECORD_BYTES - 1] = 10;
  }
  return bytes;
}

/** A region of an appliance with one tier, whose pages go there and come back as a whole. */
class Moved implements AsyncDisposable {
  readonly #stage: Stage;
  readonly #small: Budgeted;
  readonly #control: ControlClient;

  private constructor(stage: Stage, small: Budgeted) {
    this.#stage = stage;
    this.#small = small;
    const { address } = findAppliance(small.url);
    this.#control = new ControlClient({ address, token: undefined });
  }

  static async holding(stage: Stage, bytes: Buffer, tier: string): Promise<Moved> {
    const small = await Budgeted.start(stage, 2 * bytes.length, ['--tier', tier]);
    const moved = new Moved(stage, small);
    await small.client.create({ name: 'moved', size: bytes.length, fill: 'zero' });
    const region = await small.client.attach('moved');
    await region.write(0, bytes);
    return moved;
  }

  async demote(pages: number): Promise<number> {
    const begin = performance.now();
    const { pagesDemoted } = await this.#control.call('demote', this.#call());
    return this.#took(begin, { pages, moved: pagesDemoted });
  }

  async promote(pages: number): Promise<number> {
    const begin = performance.now();
    const { pagesPromoted } = await this.#control.call('promote', this.#call());
    return this.#took(begin, { pages, moved: pagesPromoted });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#small[Symbol.asyncDispose]();
  }

  #call() {
    return { params: { region: 'moved' }, body: {}, signal: this.#stage.signal } as const;
  }

  /** Milliseconds since `begin`. */
  #took(begin: number, { pages, moved }: { pages: number; moved: number }): number {
    const elapsedMs = performance.now() - begin;
    if (moved === pages) return elapsedMs;
    throw new FarpageError('ERR_INTERNAL', `${moved} of ${pages} pages moved`);
  }
}

/** Promotion out of compressed memory. */
async function promote(stage: Stage): Promise<Row[]> {
  const file = join(stage.folder, 'data');
  const bytes = records(DATA_BYTES);
  const pages = DATA_BYTES / PAGE;
  const placed: number[] = [];
  try {
    await using made = await open(file, 'wx');
    await made.write(bytes);
    await using moved = await Moved.holding(stage, bytes, `compressed:${DATA_BYTES}`);
    const told = await rounds(stage, async () => {
      const [raw] = await stage.run('decompress', { file });
      placed.push(figure(raw, 'placedUs'));
      await moved.demote(pages);
      const elapsedUs = (await moved.promote(pages)) * 1000;
      return { farpage: elapsedUs / pages, raw: figure(raw, 'meanUs') };
    });
    const work = `promotion of ${pages} pages out of compressed memory, for each, beside LZ4 alone`;
    const note = `LZ4 and a copy into fresh memory: ${formatFigure(median(placed), 'us')}`;
    const target = { of: 'ratio', most: 1.5 } as const;
    const head = { name: 'promote', work, placement: PLACEMENT, unit: 'us', target, note } as const;
    return [makeRow(head, told)];
  } finally {
    rmSync(file, { force: true });
  }
}

/** Demotion into a pool at the stage's appliance, and promotion out of it, over TCP. */
async function remoteTier(stage: Stage): Promise<Row[]> {
  const pages = DATA_BYTES / PAGE;
  const host = await stage.client('unix');
  await host.create({ name: 'pool', size: DATA_BYTES, fill: 'zero' });
  const single: number[] = [];
  const down: Round[] = [];
  try {
    await using moved = await Moved.holding(
      stage,
      records(DATA_BYTES),
      `${stage.serving.tcpUrl}/pool`,
    );
    // From here on the pool has memory, and whoever moves pages a connection.
    await moved.demote(pages);
    await moved.promote(pages);
    const up = await rounds(stage, async () => {
      const load = { 'duration-ms': stage.options.durationMs, mode: 'adaptive' };
      const bulk = { ...load, sizes: POOL_WRITE_BYTES, depths: 16 };
      const scratch = { ...bulk, ...(await stage.reach('tcp', 'scratch')) };
      const [writes] = await stage.run('initiator', { ...scratch, op: 'write' });
      const [reads] = await stage.run('initiator', { ...scratch, op: 'read' });
      const [small] = await stage.run('initiator', { ...scratch, sizes: PAGE, depths: 64 });
      single.push(figure(small, 'bytesPerSecond'));
      const rate = (elapsedMs: number) => (DATA_BYTES / elapsedMs) * 1000;
      const raw = figure(writes, 'bytesPerSecond');
      down.push({ raw, farpage: rate(await moved.demote(pages)) });
      return {
        raw: figure(reads, 'bytesPerSecond'),
        farpage: rate(await moved.promote(pages)),
      };
    });
    const head = { name: 'remote-tier', placement: PLACEMENT, unit: 'B/s' } as const;
    const size = `${pages} pages`;
    const note = `READs 4KiB, depth 64: ${formatFigure(median(single), 'B/s')}`;
    const beside = 'of 256KiB, depth 16, of a region there';
    return [
      makeRow(
        {
          ...head,
          work: `demotion of ${size} to a second appliance, tcp, beside WRITEs ${beside}`,
        },
        down,
      ),
      makeRow(
        { ...head, work: `promotion of ${size} from there, beside READs ${beside}`, note },
        up,
      ),
    ];
  } finally {
    await host.remove('pool', { dirty: 'discard' });
  }
}

const workOf = (name: string, files: number, run: (stage: Stage) => Promise<Row[]>): Work => ({
  name,
  quick: false,
  files,
  run: (stage) => stage.unpinned(() => run(stage)),
});

export const TIER_WORKS: readonly Work[] = [
  workOf('promote', 1, promote),
  workOf('remote-tier', 0, remoteTier),
];
