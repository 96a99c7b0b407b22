import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Catalog } from '../../src/appliance/catalog.js';
import type { RegionRecord } from '../../src/appliance/record.js';
import { SyncRecord } from '../../src/appliance/sync-record.js';
import { boundDevice, bytesIn, meetCalls, powerLoss } from '../fixtures/faulty-fs.mjs';
import { codeOf } from '../helpers/codes.js';
import { randomOf, SEED } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const CALLS_MAX = 200;
const LOSSES_OF_A_CUT = 6;

const record = (name: string, size = 4096): RegionRecord => ({
  name,
  id: '0123456789abcdef'.repeat(2),
  door: 'unix',
  access: 'read-write',
  size,
  resident: 0,
  source: { kind: 'anonymous', fill: 'zero', persist: true },
});

/** What is done to a catalog, and what it holds after each step. */
const STEPS: readonly { work: (catalog: Catalog) => void; after: RegionRecord[] }[] = [
  { work: (catalog) => catalog.put(record('a')), after: [record('a')] },
  { work: (catalog) => catalog.put(record('b')), after: [record('a'), record('b')] },
  { work: (catalog) => catalog.put(record('a', 8192)), after: [record('b'), record('a', 8192)] },
  { work: (catalog) => catalog.remove('b'), after: [record('a', 8192)] },
];

/** Repeats a scenario with its n-th call failing, for every n; how many calls there are. */
async function failEach(
  error: string,
  scenario: (folder: string) => Promise<void>,
): Promise<number> {
  const root = scratch();
  for (let nth = 1; nth <= CALLS_MAX; nth += 1) {
    const folder = mkdtempSync(join(root, 'n-'));
    const met = meetCalls({ folder, nth, error });
    try {
      await scenario(folder);
    } finally {
      met.end();
    }
    if (met.calls < nth) return nth - 1;
  }
  throw new Error('the scenario has no end');
}

describe.each([
  ['ENOSPC', 'ERR_NO_SPACE'],
  ['EIO', 'ERR_IO'],
])('when any call on the state directory ends with %s', (error, code) => {
  it('the catalog says so, is as it was, in memory and in the file, and goes on', async () => {
    const calls = await failEach(error, async (folder) => {
      const catalog = Catalog.open(folder);
      let held: RegionRecord[] = [];
      for (const { work, after } of STEPS) {
        const failed = await codeOf(() => work(catalog));
        if (failed !== 'nothing') {
          expect(failed).toBe(code);
          expect(catalog.regions).toEqual(held);
          expect(Catalog.open(folder).regions).toEqual(held);
          work(catalog);
        }
        held = after;
        expect(catalog.regions).toEqual(held);
        expect(Catalog.open(folder).regions).toEqual(held);
      }
    });
    expect(calls).toBeGreaterThan(25);
  });

  it('the count of syncs says so, never goes back, and goes on', async () => {
    const calls = await failEach(error, async (folder) => {
      const path = join(folder, 'r.sync');
      const again = async <T>(work: () => T | Promise<T>): Promise<T> => {
        try {
          return await work();
        } catch (failure) {
          expect(failure).toMatchObject({ code });
          return await work();
        }
      };
      let told = 0;
      for (let start = 0; start < 2; start += 1) {
        const syncs = await again(() => SyncRecord.open(path));
        expect(syncs.epoch).toBeGreaterThanOrEqual(told);
        await again(() => syncs.begin({ lost: false, renewed: false, written: true }));
        await again(() => syncs.settled());
        expect(await again(() => SyncRecord.open(path))).toMatchObject({ unclean: true });
        for (let n = 0; n < 3; n += 1) {
          const epoch = await again(() => syncs.advance());
          expect(epoch).toBeGreaterThan(told);
          told = epoch;
          expect((await again(() => SyncRecord.open(path))).epoch).toBe(told);
        }
        await again(() => syncs.end({ inMemory: false }));
        expect(await again(() => SyncRecord.open(path))).toMatchObject({ unclean: false });
      }
    });
    expect(calls).toBeGreaterThan(20);
  });
});

it('a full device can be emptied: regions go where none can be made', async () => {
  const folder = scratch();
  const catalog = Catalog.open(folder);
  for (const name of ['a', 'b', 'c']) catalog.put(record(name));
  for (let start = 0; start < 2; start += 1) {
    const opened = Catalog.open(folder);
    const device = boundDevice({ folder, bytes: bytesIn(folder) });
    try {
      expect(await codeOf(() => opened.put(record('other')))).toBe('ERR_NO_SPACE');
      const [first, ...rest] = opened.regions;
      opened.remove(first?.name ?? '');
      expect(Catalog.open(folder).regions).toEqual(rest);
    } finally {
      device.end();
    }
  }
});

describe('after a power loss at any point', () => {
  const below = randomOf(SEED);
  /** Builds what each cut of the record may leave, several times, and looks at it. */
  const loseAt = (records: readonly object[], look: (folder: string, cut: number) => void) => {
    const root = scratch();
    for (let cut = 0; cut <= records.length; cut += 1) {
      for (let n = 0; n < LOSSES_OF_A_CUT; n += 1) {
        const into = mkdtempSync(join(root, 'left-'));
        powerLoss(records, { cut, below, into });
        look(into, cut);
      }
    }
  };

  it(`the catalog is the one before a change or the one after it (seed ${SEED})`, () => {
    const folder = scratch();
    const met = meetCalls({ folder });
    const catalog = Catalog.open(folder);
    const held: { at: number; regions: RegionRecord[] }[] = [{ at: 0, regions: [] }];
    for (const { work, after } of STEPS) {
      work(catalog);
      held.push({ at: met.records.length, regions: after });
    }
    met.end();
    loseAt(met.records, (left, cut) => {
      const now = held.findLastIndex(({ at }) => at <= cut);
      const allowed = held.slice(now, now + 2).map(({ regions }) => regions);
      expect(allowed).toContainEqual(Catalog.open(left).regions);
    });
  });

  it(`the count of syncs is never behind what was told (seed ${SEED})`, async () => {
    const folder = scratch();
    const path = join(folder, 'r.sync');
    const met = meetCalls({ folder });
    const told: { at: number; epoch: number; open: boolean }[] = [];
    let epoch = 0;
    for (let start = 0; start < 3; start += 1) {
      const syncs = SyncRecord.open(path);
      syncs.begin({ lost: start === 2, renewed: true, written: true });
      await syncs.settled();
      epoch = syncs.epoch;
      told.push({ at: met.records.length, epoch, open: true });
      for (let n = 0; n < 3; n += 1) {
        epoch = await syncs.advance();
        told.push({ at: met.records.length, epoch, open: true });
      }
      told.push({ at: met.records.length, epoch, open: false });
      syncs.end({ inMemory: false });
    }
    met.end();
    loseAt(met.records, (left, cut) => {
      const last = told.findLast(({ at }) => at <= cut);
      const found = SyncRecord.open(join(left, 'r.sync'));
      expect(found.epoch).toBeGreaterThanOrEqual(last?.epoch ?? 0);
      // While it is open and somebody may write, a loss is known as one.
      if (last?.open) expect([cut, found.unclean]).toEqual([cut, true]);
    });
  });
});
