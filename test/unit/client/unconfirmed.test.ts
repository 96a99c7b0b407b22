import { describe, expect, it } from 'vitest';
import { Unconfirmed } from '../../../src/client/unconfirmed.js';

describe('unconfirmed writes', () => {
  const after = (steps: (it: Unconfirmed) => void): boolean => {
    const writes = new Unconfirmed();
    steps(writes);
    writes.doubt();
    return writes.isDoubtful;
  };

  it.each<[string, boolean, (it: Unconfirmed) => void]>([
    ['nothing was written', false, () => {}],
    ['something was', true, (it) => it.post()],
    [
      'it was not sent',
      false,
      (it) => {
        it.post();
        it.takeBack();
      },
    ],
    [
      'one of two was not sent',
      true,
      (it) => {
        it.post();
        it.post();
        it.takeBack();
      },
    ],
    [
      'a sync has it',
      false,
      (it) => {
        it.post();
        it.confirm(it.posted);
      },
    ],
    [
      'it came during the sync',
      true,
      (it) => {
        it.post();
        it.post();
        it.confirm(1);
      },
    ],
    [
      'a sync that began earlier ends later',
      false,
      (it) => {
        it.post();
        it.post();
        it.confirm(2);
        it.confirm(1);
      },
    ],
  ])('are in doubt after a restart, or not: %s', (_, expected, steps) => {
    expect(after(steps)).toBe(expected);
  });

  it('are told to be lost once, and doubted again if they were not', () => {
    const writes = new Unconfirmed();
    writes.post();
    writes.doubt();
    writes.settle(false);
    expect(writes.isDoubtful).toBe(false);
    writes.doubt();
    expect(writes.isDoubtful).toBe(true);
    writes.settle(true);
    writes.doubt();
    expect(writes.isDoubtful).toBe(false);
  });
});
