import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Carving } from '../../../src/appliance/carving.js';
import { codeOf } from '../../helpers/codes.js';

/** Work that goes on until it is ended. */
function work() {
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { begin: () => ended, end };
}

describe('requests of who carves a region', () => {
  it('are done one at a time, and none that is older than one before', async () => {
    const carving = new Carving('r');
    await carving.give('a');
    const long = work();
    const first = carving.inTurn({ session: 'a', turn: 2 }, long.begin);
    const ask = (turn: number, session = 'a') =>
      codeOf(() => carving.inTurn({ session, turn }, async () => {}));
    expect(await ask(3)).toBe('ERR_REGION_BUSY');
    long.end();
    await first;
    expect(await ask(1)).toBe('ERR_REGION_BUSY');
    expect(await ask(2)).toBe('ERR_REGION_BUSY');
    expect(await ask(3, 'b')).toBe('ERR_SESSION_ENDED');
    expect(await carving.inTurn({ session: 'a', turn: 3 }, async () => 'done')).toBe('done');
    const failing = async () => await Promise.reject(new Error('no'));
    await expect(carving.inTurn({ session: 'a', turn: 4 }, failing)).rejects.toThrow('no');
    expect(await carving.inTurn({ session: 'a', turn: 5 }, async () => 'on')).toBe('on');
  });

  it('are at an end before somebody else carves it', async () => {
    const carving = new Carving('r');
    await carving.give('a');
    const long = work();
    const first = carving.inTurn({ session: 'a', turn: 1 }, long.begin);
    carving.take('a');
    expect(carving.holder).toBe('a');
    const late = carving.inTurn({ session: 'a', turn: 2 }, async () => {});
    expect(await codeOf(() => late)).toBe('ERR_SESSION_ENDED');
    long.end();
    await first;
    expect(carving.holder).toBeUndefined();
    await carving.give('b');
    expect(await codeOf(() => carving.inTurn({ session: 'a', turn: 3 }, long.begin))).toBe(
      'ERR_SESSION_ENDED',
    );
    expect(await carving.inTurn({ session: 'b', turn: 1 }, async () => 'mine')).toBe('mine');
  });

  it('do not go on beside what has to be alone, which waits for one within a bound', async () => {
    const carving = new Carving('r');
    await carving.give('a');
    const [turn, alone] = [work(), work()];
    const first = carving.inTurn({ session: 'a', turn: 1 }, turn.begin);
    const done: string[] = [];
    expect(await codeOf(() => carving.betweenTurns(alone.begin, 1))).toBe('ERR_REGION_BUSY');
    const waits = carving.betweenTurns(async () => {
      done.push('begun');
      await alone.begin();
    });
    const next = (n: number) => codeOf(() => carving.inTurn({ session: 'a', turn: n }, turn.begin));
    await setImmediate();
    expect(done).toEqual([]);
    turn.end();
    await first;
    await expect.poll(() => done).toEqual(['begun']);
    expect(await next(2)).toBe('ERR_REGION_BUSY');
    alone.end();
    await waits;
    expect(await next(2)).toBe('nothing');
    // One that fails lets the next one go.
    const failing = carving.betweenTurns(async () => await Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    expect(await next(3)).toBe('nothing');
  });
});
