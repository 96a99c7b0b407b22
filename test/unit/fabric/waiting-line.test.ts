import { describe, expect, it } from 'vitest';
import { FarpageError } from '../../../src/errors.js';
import { Operation } from '../../../src/fabric/operation.js';
import { WAITING_MAX, WaitingLine } from '../../../src/fabric/waiting-line.js';
import { OPCODE } from '../../../src/native/binding.js';

function operation(offset = 0): Operation {
  return new Operation(OPCODE.read, 1, offset, 8);
}

describe('waiting line', () => {
  it('keeps the order over many comings and goings', () => {
    const line = new WaitingLine();
    let next = 0;
    for (let offset = 0; offset < 30_000; offset++) {
      line.push(operation(offset));
      if (offset % 3 !== 0) continue;
      expect(line.first()?.offset).toBe(next++);
      line.shift();
    }
    expect(line.length).toBe(20_000);
    expect(line.all()[0]?.offset).toBe(next);
  });

  it('passes over what has ended meanwhile', () => {
    const line = new WaitingLine();
    const [first, second] = [operation(1), operation(2)];
    line.push(first);
    line.push(second);
    first.fail(new FarpageError('ERR_ABORTED'));
    expect(line.first()).toBe(second);
    second.succeed(undefined);
    expect(line.first()).toBeUndefined();
    expect(line.length).toBe(0);
  });

  it('refuses what goes beyond its bound', () => {
    const line = new WaitingLine();
    for (let n = 0; n < WAITING_MAX; n++) line.push(operation());
    const last = operation();
    line.push(last);
    expect(last.failure).toMatchObject({ code: 'ERR_QUOTA' });
    expect(line.length).toBe(WAITING_MAX);
  });

  it('does not count what has ended', () => {
    const line = new WaitingLine();
    const all = Array.from({ length: WAITING_MAX }, () => operation());
    for (const each of all) line.push(each);
    for (const each of all) each.fail(new FarpageError('ERR_TIMEOUT'));
    const next = operation();
    line.push(next);
    expect(next.failure).toBeUndefined();
    expect(line.first()).toBe(next);
  });
});
