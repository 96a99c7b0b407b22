import { describe, expect, it } from 'vitest';
import { nextOrder, ORDERS, sorted } from '../../../../src/cli/top/order.js';
import { type Reading, sampleOf } from '../../../../src/cli/top/sample.js';
import { readingOf, statOf } from '../../../helpers/region-stat.js';

const empty = { operations: null, bytes: null, faults: null, filledBytes: null };
const noRates = { ...empty, writtenBackBytes: null, hitRatio: null };

describe('sampleOf', () => {
  it('has no rates without a reading before it', () => {
    const sample = sampleOf(readingOf(0, [statOf('a', { bypassed: 5 })]), undefined);
    expect(sample.elapsedMs).toBeNull();
    expect(sample.rates).toEqual(noRates);
    expect(sample.regions[0]?.rates).toEqual(noRates);
  });

  it('tells what happened in a second, of each region and of all', () => {
    const before = readingOf(1000, [statOf('a', { bypassed: 100, bytes: 50 }), statOf('b', {})]);
    const now = readingOf(3000, [
      statOf('a', { bypassed: 190, faulted: 10, bytes: 4050, filled: 8192 }),
      statOf('b', { writtenBack: 4096 }),
    ]);
    const sample = sampleOf(now, before);
    expect(sample.elapsedMs).toBe(2000);
    expect(sample.regions[0]?.rates).toEqual({
      operations: 50,
      bytes: 2000,
      faults: 5,
      filledBytes: 4096,
      writtenBackBytes: 0,
      hitRatio: 0.9,
    });
    expect(sample.regions[1]?.rates).toMatchObject({ writtenBackBytes: 2048, hitRatio: null });
    expect(sample.rates).toMatchObject({ operations: 50, writtenBackBytes: 2048, hitRatio: 0.9 });
  });

  it('tells nothing of a region that is new, or whose counters began anew', () => {
    const before: Reading = readingOf(0, [statOf('a', { bypassed: 100 })]);
    const now = readingOf(1000, [statOf('a', { bypassed: 3 }), statOf('c', { bypassed: 7 })]);
    const sample = sampleOf(now, before);
    expect(sample.regions.map(({ rates }) => rates)).toEqual([noRates, noRates]);
    expect(sample.rates).toEqual(noRates);
  });
});

describe('the order of regions', () => {
  const now = readingOf(1000, [
    statOf('quiet', { dirty: 5 }),
    statOf('busy', { bypassed: 10, bytes: 1 }),
    statOf('large', { bypassed: 5, bytes: 100, present: 9 }),
  ]);
  const before = readingOf(
    0,
    ['quiet', 'busy', 'large'].map((name) => statOf(name, {})),
  );
  const { regions } = sampleOf(now, before);

  it.each([
    ['operations', ['busy', 'large', 'quiet']],
    ['bytes', ['large', 'busy', 'quiet']],
    ['faults', ['busy', 'large', 'quiet']],
    ['present', ['large', 'busy', 'quiet']],
    ['dirty', ['quiet', 'busy', 'large']],
    ['name', ['busy', 'large', 'quiet']],
  ] as const)('by %s', (order, names) => {
    expect(sorted(regions, order).map(({ name }) => name)).toEqual(names);
  });

  it('goes round', () => {
    const seen = ORDERS.map((order) => nextOrder(order));
    expect(new Set(seen)).toEqual(new Set(ORDERS));
  });
});
