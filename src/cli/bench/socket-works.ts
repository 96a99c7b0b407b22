/** READ, WRITE and atomics over a connection, by the C++ initiator beside the raw client. */
import { makeRow, type Row, type Target, type Unit } from './row.js';
import type { Stage, Transport } from './stage.js';
import { figure, type Line } from './tool.js';
import { rounds, type Work } from './work.js';

type Op = 'read' | 'write' | 'fetch-add' | 'compare-swap';
type Metric = 'p50Us' | 'p99Us' | 'opsPerSecond' | 'bytesPerSecond';

interface Subject {
  readonly op: Op;
  readonly bytes: number;
  readonly depth: number;
  readonly transport: Transport;
  readonly targets: Readonly<Partial<Record<Metric, Target | null>>>;
  readonly quick?: boolean;
}

const WARM_UP_MS = 30;
const UNITS: Readonly<Record<Metric, Unit>> = {
  p50Us: 'us',
  p99Us: 'us',
  opsPerSecond: '/s',
  bytesPerSecond: 'B/s',
};
const LABELS: Readonly<Record<Metric, string>> = {
  p50Us: 'p50',
  p99Us: 'p99',
  opsPerSecond: 'rate',
  bytesPerSecond: 'bulk',
};
const most = (value: number): Target => ({ of: 'ratio', most: value });
const least = (value: number): Target => ({ of: 'ratio', least: value });

const KIB = 1024;
const MIB = 1024 * KIB;
const p99 = most(1.3);
/** With both sides on one core, sleeping, every ratio is held to the same. */
const ONE_CORE = 1.1;

const SUBJECTS: readonly Subject[] = [
  ...(['tcp', 'unix'] as const).flatMap((transport): Subject[] => {
    const near = most(transport === 'tcp' ? 1.1 : 1.15);
    const quick = transport === 'tcp';
    const read = { op: 'read', transport } as const;
    return [
      { ...read, bytes: 64, depth: 1, targets: { p50Us: near, p99Us: p99 }, quick: true },
      { ...read, bytes: 4 * KIB, depth: 1, targets: { p50Us: near, p99Us: p99 }, quick: true },
      { ...read, bytes: MIB, depth: 1, targets: { p50Us: most(1.05), p99Us: p99 }, quick },
      { ...read, bytes: MIB, depth: 16, targets: { bytesPerSecond: least(0.95) }, quick },
    ];
  }),
  ...[64, 4 * KIB].flatMap((bytes) =>
    [16, 64].map((depth): Subject => {
      const rate = least(bytes === 64 ? 0.7 : 0.75);
      const targets = { opsPerSecond: rate };
      return { op: 'read', transport: 'tcp', bytes, depth, targets, quick: depth === 64 };
    }),
  ),
  {
    op: 'write',
    transport: 'tcp',
    bytes: 64,
    depth: 1,
    targets: { p50Us: most(1.15) },
    quick: true,
  },
  { op: 'write', transport: 'tcp', bytes: 4 * KIB, depth: 1, targets: { p50Us: most(1.15) } },
  { op: 'write', transport: 'unix', bytes: 64, depth: 1, targets: { p50Us: most(1.15) } },
  {
    op: 'write',
    transport: 'tcp',
    bytes: MIB,
    depth: 16,
    targets: { bytesPerSecond: least(0.95) },
  },
];

/** The whole field, for the eye: what SUBJECTS holds to a target is left out. */
const FIELD: readonly Subject[] = (['read', 'write'] as const).flatMap((op) =>
  (['tcp', 'unix'] as const).flatMap((transport) =>
    [8, 64, 4 * KIB, 64 * KIB, MIB].flatMap((bytes) =>
      [1, 16, 64].map((depth): Subject => {
        const metric = depth === 1 ? 'p50Us' : bytes < 64 * KIB ? 'opsPerSecond' : 'bytesPerSecond';
        const targets = { [metric]: null };
        return { op, transport, bytes, depth, targets };
      }),
    ),
  ),
);

const sizeName = (bytes: number) =>
  bytes >= MIB ? `${bytes / MIB}MiB` : bytes >= KIB ? `${bytes / KIB}KiB` : `${bytes}B`;

async function measure(stage: Stage, subject: Subject, side: 'farpage' | 'raw'): Promise<Line> {
  const { op, bytes, depth, transport } = subject;
  const { mode, clientCore } = stage.placement;
  const words = {
    op,
    sizes: bytes,
    depths: depth,
    mode,
    core: clientCore,
    'duration-ms': stage.options.durationMs,
    'warm-up-ms': WARM_UP_MS,
  };
  if (side === 'raw') {
    const connect = await stage.rawServer(transport);
    return (await stage.run('client', { ...words, connect }))[0] ?? {};
  }
  // READs go to memory that nobody changes, so that every answer can be looked at.
  const region = op === 'read' ? 'bench' : 'scratch';
  const reach = await stage.reach(transport, region);
  const pattern = op === 'read' ? 'check' : 'none';
  return (await stage.run('initiator', { ...words, ...reach, pattern }))[0] ?? {};
}

function targetHere(stage: Stage, target: Target | null, metric: Metric): Target | undefined {
  if (target === null) return undefined;
  if (stage.options.placement === 'two-cores-polling') return target;
  const rate = metric === 'opsPerSecond' || metric === 'bytesPerSecond';
  return rate ? least(1 / ONE_CORE) : metric === 'p99Us' ? p99 : most(ONE_CORE);
}

function nameOf({ op, bytes, depth, transport }: Subject): string {
  return `${op}-${sizeName(bytes)}-${transport}-${depth}`.toLowerCase();
}

function workOf(subject: Subject): Work {
  const { op, bytes, depth, transport, targets } = subject;
  const name = nameOf(subject);
  const what = `${op.toUpperCase()}${op === 'write' ? ' + fence' : ''}`;
  const label = `${what} ${sizeName(bytes)} ${transport}, depth ${depth}`;
  const run = async (stage: Stage): Promise<Row[]> => {
    const told = await rounds(stage, async (number) => {
      // Who goes first changes, so that neither side always finds the machine the other left.
      const rawFirst = number % 2 === 0;
      const first = await measure(stage, subject, rawFirst ? 'raw' : 'farpage');
      const second = await measure(stage, subject, rawFirst ? 'farpage' : 'raw');
      return rawFirst ? { raw: first, farpage: second } : { raw: second, farpage: first };
    });
    return (Object.keys(targets) as Metric[]).map((metric) => {
      const target = targetHere(stage, targets[metric] ?? null, metric);
      const head = { name, work: `${label}, ${LABELS[metric]}`, unit: UNITS[metric] };
      return makeRow(
        { ...head, placement: stage.options.placement, ...(target && { target }) },
        told.map((line) => ({
          farpage: figure(line.farpage, metric),
          raw: figure(line.raw, metric),
        })),
      );
    });
  };
  return { name, quick: subject.quick === true, files: 0, run };
}

/** Atomics are held against Farpage's own READ of 8 bytes. */
function atomicWork(op: 'fetch-add' | 'compare-swap'): Work {
  const of = { bytes: 8, depth: 1, transport: 'tcp', targets: {} } as const;
  const run = async (stage: Stage): Promise<Row[]> => {
    const told = await rounds(stage, async () => ({
      raw: figure(await measure(stage, { ...of, op: 'read' }, 'farpage'), 'p50Us'),
      farpage: figure(await measure(stage, { ...of, op }, 'farpage'), 'p50Us'),
    }));
    const work = `${op.toUpperCase()} tcp, p50, beside own READ 8B`;
    const head = { name: op, work, unit: 'us', target: most(1.05) } as const;
    return [makeRow({ ...head, placement: stage.options.placement }, told)];
  };
  return { name: op, quick: true, files: 0, run };
}

const HELD: readonly string[] = SUBJECTS.map(nameOf);

export const SOCKET_WORKS: readonly Work[] = [
  ...SUBJECTS.map(workOf),
  ...FIELD.filter((subject) => !HELD.includes(nameOf(subject))).map(workOf),
  atomicWork('fetch-add'),
  atomicWork('compare-swap'),
];
