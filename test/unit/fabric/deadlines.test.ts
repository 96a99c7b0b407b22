import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../../src/fabric/deadlines.js';
import { Operation } from '../../../src/fabric/operation.js';
import { OPCODE } from '../../../src/native/binding.js';

function operation(timeoutMs: number): Operation {
  const made = new Operation(OPCODE.read, 1, 0, 8);
  made.timeoutMs = timeoutMs;
  return made;
}

describe('deadlines', () => {
  it('ends what is late, and only that', async () => {
    const [soon, later, never, done] = [30, 10_000, 0, 30].map(operation) as [
      Operation,
      Operation,
      Operation,
      Operation,
    ];
    done.succeed(undefined);
    const deadlines = new Deadlines(() => [soon, undefined, later, never, done]);
    const start = performance.now();
    deadlines.arm();
    while (!soon.settled && performance.now() - start < 2000) await sleep(1);
    expect(soon.failure).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(performance.now() - start).toBeGreaterThanOrEqual(30);
    expect([later.settled, never.settled, done.failure]).toEqual([false, false, undefined]);
    deadlines.stop();
  });

  it('stops looking when nothing is left, and starts again', async () => {
    let looks = 0;
    let live: Operation[] = [operation(20)];
    const deadlines = new Deadlines(() => {
      looks++;
      return live;
    });
    deadlines.arm();
    await sleep(100);
    const after = looks;
    await sleep(50);
    expect([looks, live[0]?.settled]).toEqual([after, true]);
    live = [operation(1)];
    deadlines.arm();
    await sleep(100);
    expect(live[0]?.settled).toBe(true);
  });
});
