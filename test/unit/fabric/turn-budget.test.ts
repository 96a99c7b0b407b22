import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TurnBudget } from '../../../src/fabric/turn-budget.js';

describe('turn budget', () => {
  it('polls within a turn of the event loop, then lets the loop go round', async () => {
    const budget = new TurnBudget(50);
    expect([budget.spinUs(100), budget.spinUs(100.9)]).toEqual([50, 50]);
    expect(budget.spinUs(101.1)).toBe(0);
    await turn();
    expect(budget.spinUs(101.2)).toBe(50);
    await turn();
    // A batch after a long pause begins a turn, it does not end one.
    expect(budget.spinUs(5000)).toBe(50);
  });

  it('stops while polling does not pay, but tries again now and then', () => {
    const budget = new TurnBudget(50);
    for (let n = 0; n < 4; n++) {
      expect(budget.spinUs(0)).toBe(50);
      budget.learn(false);
    }
    const spins = Array.from({ length: 64 }, () => budget.spinUs(0));
    expect(spins.filter((spin) => spin > 0).length).toBe(2);
    budget.learn(true);
    expect(budget.spinUs(0)).toBe(50);
  });

  it('never polls when told not to', () => {
    expect(new TurnBudget(0).spinUs(0)).toBe(0);
  });
});
