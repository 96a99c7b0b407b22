/** The same READs from JavaScript, in this process, through the client library. */
import type { ExternalRegion } from '../../client/external-region.js';
import { makeRow, type Row, type Target, type Unit } from './row.js';
import { AREA_BYTES, type Stage } from './stage.js';
import { quantile } from './statistics.js';
import { figure } from './tool.js';
import { rounds, type Work } from './work.js';

const READ_BYTES = 64;
const PLACES = AREA_BYTES / READ_BYTES;
const LATENCIES_MAX = 1_000_000;
const WARM_UP_READS = 2000;
/** Of the loop itself: until it is compiled it takes twice as long. */
const WARM_UP_MS = 150;
const LANES = 64;

/** Places far from each other, at no cost, by a linear congruence. */
function placesFrom(seed: number): () => number {
  let place = seed;
  return () => {
    place = (place * 1_103_515_245 + 12_345) % 2_147_483_648;
    return (place % PLACES) * READ_BYTES;
  };
}

interface Loop {
  readonly region: ExternalRegion;
  readonly durationMs: number;
}

function latenciesSync({ region, durationMs }: Loop): number {
  const next = placesFrom(7);
  const taken = new Float64Array(LATENCIES_MAX);
  let count = 0;
  let before = performance.now();
  for (const end = before + durationMs; before < end && count < LATENCIES_MAX; count++) {
    region.readSync(next(), READ_BYTES);
    const now = performance.now();
    taken[count] = now - before;
    before = now;
  }
  return quantile(taken.subarray(0, count), 0.5) * 1000;
}

async function latenciesAwaited({ region, durationMs }: Loop): Promise<number> {
  const next = placesFrom(11);
  const taken = new Float64Array(LATENCIES_MAX);
  let count = 0;
  let before = performance.now();
  for (const end = before + durationMs; before < end && count < LATENCIES_MAX; count++) {
    await region.read(next(), READ_BYTES);
    const now = performance.now();
    taken[count] = now - before;
    before = now;
  }
  return quantile(taken.subarray(0, count), 0.5) * 1000;
}

async function rateAwaited({ region, durationMs }: Loop): Promise<number> {
  const next = placesFrom(13);
  const begin = performance.now();
  let done = 0;
  let over = false;
  const lane = async () => {
    while (!over) {
      await region.read(next(), READ_BYTES);
      // A look at the clock costs as much as a resolved promise: one in every round of lanes.
      if (++done % LANES === 0) over = performance.now() - begin >= durationMs;
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return (done * 1000) / (performance.now() - begin);
}

interface Subject {
  readonly name: string;
  readonly label: string;
  readonly depth: number;
  readonly unit: Unit;
  readonly rawFigure: string;
  readonly target: Target;
  measure(loop: Loop): number | Promise<number>;
}

const SUBJECTS: readonly Subject[] = [
  {
    name: 'js-read-sync',
    label: 'JavaScript readSync 64B tcp, p50',
    depth: 1,
    unit: 'us',
    rawFigure: 'p50Us',
    target: { of: 'difference', most: 1.5 },
    measure: latenciesSync,
  },
  {
    name: 'js-read-await-1',
    label: 'JavaScript await read 64B tcp, depth 1, p50',
    depth: 1,
    unit: 'us',
    rawFigure: 'p50Us',
    target: { of: 'figure', most: 25 },
    measure: latenciesAwaited,
  },
  {
    name: 'js-read-await-64',
    label: 'JavaScript await read 64B tcp, depth 64, rate',
    depth: LANES,
    unit: '/s',
    rawFigure: 'opsPerSecond',
    target: { of: 'figure', least: 600_000 },
    measure: rateAwaited,
  },
];

async function measureBoth(stage: Stage, subject: Subject, region: ExternalRegion) {
  const { mode, clientCore: core } = stage.placement;
  const { durationMs } = stage.options;
  const connect = await stage.rawServer('tcp');
  const raw = { connect, mode, core, depths: subject.depth, 'duration-ms': durationMs };
  const [line] = await stage.run('client', { ...raw, sizes: READ_BYTES });
  // The addon asks how many cores it has when it first waits: this comes before the pin.
  for (let count = 0; count < WARM_UP_READS; count++) region.readSync(0, READ_BYTES);
  await stage.run('pin', { pid: process.pid, cores: core });
  try {
    await subject.measure({ region, durationMs: WARM_UP_MS });
    const farpage = await subject.measure({ region, durationMs });
    return { farpage, raw: figure(line, subject.rawFigure) };
  } finally {
    await stage.run('pin', { pid: process.pid });
  }
}

function workOf(subject: Subject): Work {
  const { name, label, unit, target } = subject;
  const run = async (stage: Stage): Promise<Row[]> => {
    const client = await stage.client('tcp');
    const region = await client.attach('bench', { access: 'read-only' });
    const told = await rounds(stage, () => measureBoth(stage, subject, region));
    await region.detach();
    const { placement } = stage.options;
    return [makeRow({ name, work: label, unit, target, placement }, told)];
  };
  return { name, quick: true, files: 0, run };
}

export const SCRIPT_WORKS: readonly Work[] = SUBJECTS.map(workOf);
