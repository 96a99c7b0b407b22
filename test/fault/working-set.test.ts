import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readSet, type SavedSet, writeSet } from '../../src/appliance/working-set-file.js';
import { meetCalls, powerLoss } from '../fixtures/faulty-fs.mjs';
import { codeOf } from '../helpers/codes.js';
import { randomOf, SEED } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const CALLS_MAX = 100;
const OWNER = { id: '0123456789abcdef'.repeat(2), size: 2 ** 30 };

/** One of many runs, so that its file has several sectors. */
const setOf = (hotRuns: number): SavedSet => {
  const runs = new Float64Array(600);
  for (let run = 0; run < 300; run++) runs.set([1000 * run + hotRuns, 3 + hotRuns], 2 * run);
  return { hotRuns, runs, savedAt: hotRuns };
};
const [OLD, NEW] = [setOf(1), setOf(2)];

it.each([
  ['ENOSPC', 'ERR_NO_SPACE'],
  ['EIO', 'ERR_IO'],
])(
  'a working set stays whole when any call ends with %s, and can be saved later',
  async (error, code) => {
    const root = scratch();
    let nth = 1;
    for (; nth <= CALLS_MAX; nth += 1) {
      const folder = mkdtempSync(join(root, 'n-'));
      const path = join(folder, 'r.set');
      writeSet(path, OLD, OWNER);
      const met = meetCalls({ folder, nth, error });
      const failed = await codeOf(() => writeSet(path, NEW, OWNER));
      met.end();
      expect([OLD, NEW]).toContainEqual(readSet(path, OWNER));
      if (met.calls < nth) break;
      expect(['nothing', code]).toContain(failed);
      writeSet(path, NEW, OWNER);
      expect(readSet(path, OWNER)).toEqual(NEW);
    }
    expect(nth).toBeGreaterThan(5);
  },
);

it(`a working set is the old or the new one after a loss of power (seed ${SEED})`, () => {
  const below = randomOf(SEED);
  const folder = scratch();
  const path = join(folder, 'r.set');
  const met = meetCalls({ folder });
  writeSet(path, OLD, OWNER);
  const before = met.records.length;
  writeSet(path, NEW, OWNER);
  met.end();
  const root = scratch();
  for (let cut = 0; cut <= met.records.length; cut += 1) {
    for (let n = 0; n < 6; n += 1) {
      const into = mkdtempSync(join(root, 'left-'));
      powerLoss(met.records, { cut, below, into });
      const allowed =
        cut < before ? [undefined, OLD] : cut < met.records.length ? [OLD, NEW] : [NEW];
      expect(allowed).toContainEqual(readSet(join(into, 'r.set'), OWNER));
    }
  }
});
