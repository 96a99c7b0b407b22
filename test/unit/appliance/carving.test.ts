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
});
