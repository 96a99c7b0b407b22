import { describe, expect, it } from 'vitest';
import { Unconfirmed } from '../../../src/client/unconfirmed.js';

const STAYED = { restarted: false };
const RESTARTED = { restarted: true };

describe('unconfirmed writes', () => {
  const lossAfter = (steps: (it: Unconfirmed) => void): number | undefined => {
    const writes = new Unconfirmed(3);
    steps(writes);
    writes.renew({ epoch: 9, lastLoss: 8 }, RESTARTED);
    return writes.takeLoss();
  };

  it.each<[string, number | undefined, (it: Unconfirmed) => void]>([
    ['nothing was written', undefined, () => {}],
    ['something was', 3, (it) => it.post()],
    [
      'it was not sent',
      undefined,
      (it) => {
        it.post();
        it.takeBack();
      },
    ],
    [
      'one of two was not sent',
      3,
      (it) => {
        it.post();
        it.post();
        it.takeBack();
      },
    ],
    [
      'a sync has it',
      undefined,
      (it) => {
        it.post();
        it.confirm(it.posted, 4);
      },
    ],
    [
      'it came during the sync',
      4,
      (it) => {
        it.post();
        it.post();
        it.confirm(1, 4);
      },
    ],
    [
      'a sync that began earlier ends later',
      undefined,
      (it) => {
        it.post();
        it.post();
        it.confirm(2, 5);
        it.confirm(1, 4);
      },
    ],
  ])('are lost with what a restart has lost, or not: %s', (_, expected, steps) => {
    expect(lossAfter(steps)).toBe(expected);
  });

  it.each<[string, number | null, number | null, number | null, boolean]>([
    ['no start has ever lost anything', 3, 3, null, false],
    ['one did before they were begun', 3, 3, 2, false],
    ['one did since', 3, 4, 3, true],
    ['one did, and ended well itself', 3, 6, 4, true],
    ['the count itself was lost', 3, 1, 0, true],
    ['nobody counts', null, null, null, true],
    ['nobody counts any more', 3, null, null, true],
  ])('are told by the count of syncs: %s', (_, known, epoch, lastLoss, lost) => {
    const writes = new Unconfirmed(known);
    writes.post();
    writes.renew({ epoch, lastLoss }, RESTARTED);
    expect(writes.takeLoss() !== undefined).toBe(lost);
  });

  it('are safe where a session ended that nobody counts in, and its appliance lived on', () => {
    const writes = new Unconfirmed(null);
    writes.post();
    writes.renew({ epoch: null, lastLoss: null }, STAYED);
    expect(writes.takeLoss()).toBeUndefined();
  });

  it('are told to be lost once, however many starts there were before', () => {
    const writes = new Unconfirmed(0);
    writes.post();
    writes.renew({ epoch: 1, lastLoss: 0 }, RESTARTED);
    writes.renew({ epoch: 1, lastLoss: 0 }, RESTARTED);
    expect(writes.takeLoss()).toBe(0);
    expect(writes.takeLoss()).toBeUndefined();
    writes.renew({ epoch: 2, lastLoss: 1 }, RESTARTED);
    expect(writes.takeLoss()).toBeUndefined();
    writes.post();
    writes.renew({ epoch: 3, lastLoss: 2 }, RESTARTED);
    expect(writes.takeLoss()).toBe(2);
  });
});
