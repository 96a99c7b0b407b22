/** Runs the chosen measurements one after the other, within a bound of time and disk. */
import { ATOMIC_WORKS } from './atomic-works.js';
import { BESIDE_WORKS } from './beside-works.js';
import { CAPACITY_WORKS } from './capacity-works.js';
import { COPY_WORKS } from './copy-works.js';
import { FILE_WORKS } from './file-works.js';
import { freeBytes } from './files.js';
import { FROZEN_WORKS } from './frozen-works.js';
import { REST_WORKS } from './rest-works.js';
import { type Row, skippedRow } from './row.js';
import { SCRIPT_WORKS } from './script-works.js';
import { SOCKET_WORKS } from './socket-works.js';
import { Stage, type StageOptions } from './stage.js';
import { START_WORKS } from './start-works.js';
import { SYNC_WORKS } from './sync-works.js';
import { TIER_WORKS } from './tier-works.js';
import { WARM_WORKS } from './warm-works.js';
import type { Work } from './work.js';

/** Every measurement there is, in the order they are run. */
export const WORKS: readonly Work[] = [
  ...SOCKET_WORKS,
  ...SCRIPT_WORKS,
  ...START_WORKS,
  ...REST_WORKS,
  ...SYNC_WORKS,
  ...ATOMIC_WORKS,
  ...FROZEN_WORKS,
  ...FILE_WORKS,
  ...BESIDE_WORKS,
  ...COPY_WORKS,
  ...CAPACITY_WORKS,
  ...TIER_WORKS,
  ...WARM_WORKS,
];

export interface RunOptions extends StageOptions {
  readonly works: readonly Work[];
  /** No measurement begins later than this after the first. */
  readonly totalMs: number;
  /** How often a measurement with a noisy row is repeated. */
  readonly retries: number;
  onRows(rows: readonly Row[]): void;
}

/** Why a measurement cannot be run now. */
function obstacle(work: Work, stage: Stage, deadline: number): string | undefined {
  if (performance.now() > deadline) return 'no time left';
  const wanted = work.files * stage.options.fileBytes;
  if (wanted > 0 && freeBytes(stage.folder) < wanted) return 'too little free disk';
  return undefined;
}

async function measure(work: Work, stage: Stage, options: RunOptions): Promise<readonly Row[]> {
  let rows = await work.run(stage);
  for (let retry = 0; retry < options.retries; retry++) {
    if (!rows.some(({ verdict }) => verdict === 'noisy')) break;
    rows = await work.run(stage);
  }
  return rows;
}

export async function runWorks(options: RunOptions): Promise<readonly Row[]> {
  const deadline = performance.now() + options.totalMs;
  await using stage = await Stage.open(options);
  const all: Row[] = [];
  for (const work of options.works) {
    const why = obstacle(work, stage, deadline);
    const { name } = work;
    const { placement } = options;
    const rows =
      why === undefined
        ? await measure(work, stage, options)
        : [skippedRow({ name, work: name, placement }, why)];
    options.onRows(rows);
    all.push(...rows);
  }
  return all;
}
