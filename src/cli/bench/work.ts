/** A measurement by name: it takes the stage and tells its rows. */
import type { Row } from './row.js';
import type { Stage } from './stage.js';

export interface Work {
  readonly name: string;
  /** Part of the quick selection. */
  readonly quick: boolean;
  /** Bytes of disk that it needs, as a multiple of the file's size. */
  readonly files: number;
  run(stage: Stage): Promise<readonly Row[]>;
}

/** Runs `round` as often as the stage says and collects what it tells. */
export async function rounds<T>(
  stage: Stage,
  round: (number: number) => Promise<T>,
): Promise<readonly T[]> {
  const told: T[] = [];
  for (let number = 0; number < stage.options.rounds; number++) {
    await stage.quiet();
    told.push(await round(number));
  }
  return told;
}
