import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  decode,
  encode,
  RUNS_MAX,
  readSet,
  type SavedSet,
  savedSets,
  writeSet,
} from '../../../src/appliance/working-set-file.js';
import { FarpageError } from '../../../src/errors.js';
import { scratch } from '../../helpers/scratch.js';

const OWNER = { id: '0123456789abcdef'.repeat(2), size: 2 ** 40 };

/** Runs in order, as gaps and counts, from page 0 on. */
function runsOf(pairs: readonly (readonly [number, number])[]): number[] {
  let end = 0;
  return pairs.flatMap(([gap, count]) => {
    const first = end + gap;
    end = first + count;
    return [first, count];
  });
}

const parts = fc.array(fc.tuple(fc.nat(2 ** 29), fc.integer({ min: 1, max: 2 ** 20 })));
const sets = fc.record({ hot: parts, warm: parts, savedAt: fc.nat() });

const SET: SavedSet = {
  hotRuns: 2,
  runs: new Float64Array([...runsOf([[5, 1]]), 1000, 300, ...runsOf([[0, 4]]), 2 ** 33, 2 ** 28]),
  savedAt: 1_764_000_000_000,
};

function reasonOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof FarpageError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing';
}

it('has every set that was put into it', () => {
  fc.assert(
    fc.property(sets, ({ hot, warm, savedAt }) => {
      const runs = new Float64Array([...runsOf(hot), ...runsOf(warm)]);
      const set = { hotRuns: hot.length, runs, savedAt };
      expect(decode(encode(set, OWNER), OWNER)).toEqual(set);
    }),
  );
});

it('takes some bytes for a run, and no more than it may have for the largest set', () => {
  const scattered = runsOf(Array.from({ length: RUNS_MAX }, (_, at) => [at % 97, 1] as const));
  const file = encode({ hotRuns: 0, runs: new Float64Array(scattered), savedAt: 0 }, OWNER);
  expect(file.length).toBeLessThan(96 + 2 * RUNS_MAX + 1);
  const far = runsOf(Array.from({ length: RUNS_MAX }, () => [2 ** 36, 2 ** 30] as const));
  const path = join(scratch(), 'far.set');
  const set = { hotRuns: 7, runs: new Float64Array(far), savedAt: 1 };
  writeSet(path, set, OWNER);
  expect(readSet(path, OWNER)).toEqual(set);
});

it('is refused when it is torn anywhere, or has any bit flipped', () => {
  const whole = encode(SET, OWNER);
  for (let length = 0; length < whole.length; length++) {
    expect(reasonOf(() => decode(whole.subarray(0, length), OWNER))).toMatch(/ERR_STATE_DAMAGED/);
  }
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const bytes = Buffer.from(whole);
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(reasonOf(() => decode(bytes, OWNER))).toMatch(/ERR_STATE_(DAMAGED|VERSION)/);
  }
});

it('is refused when it is of another region, size or kind, and says so', () => {
  const whole = encode(SET, OWNER);
  expect(reasonOf(() => decode(whole, { ...OWNER, id: 'f'.repeat(32) }))).toMatch(
    /it is of another region/,
  );
  expect(reasonOf(() => decode(whole, { ...OWNER, size: 4096 }))).toMatch(
    /it is of a region of 1099511627776 bytes, not 4096/,
  );
  const folder = scratch();
  const path = join(folder, `${OWNER.id}.set`);
  writeFileSync(path, Buffer.alloc(2 ** 20));
  expect(reasonOf(() => readSet(path, OWNER))).toMatch(/ERR_STATE_DAMAGED.*has 1048576 bytes/);
  writeFileSync(path, 'something else that is long enough to be one of these files'.repeat(3));
  expect(reasonOf(() => readSet(path, OWNER))).toMatch(/it is no working set/);
  expect(savedSets(readdirSync(folder))).toEqual(new Set([OWNER.id]));
  writeSet(path, SET, OWNER);
  expect(readFileSync(path)).toEqual(whole);
  expect(readSet(join(folder, 'none.set'), OWNER)).toBe(undefined);
});
