import { describe, expect, it } from 'vitest';
import { STAGED_BYTES_MAX, Staging } from '../../../src/fabric/staging.js';

describe('staging', () => {
  it('gives blocks that hold the length, waste less than half, and do not overlap', () => {
    const staging = new Staging(new ArrayBuffer(1 << 20));
    let end = 0;
    for (const length of [0, 1, 64, 65, 128, 129, 4096, 4097, STAGED_BYTES_MAX]) {
      const view = staging.view(staging.take(length));
      expect(view.byteLength).toBeGreaterThanOrEqual(length);
      expect(view.byteLength).toBeLessThan(Math.max(65, length * 2));
      expect(view.byteOffset).toBe(end);
      end += view.byteLength;
    }
  });

  it('uses the block that was freed last', () => {
    const staging = new Staging(new ArrayBuffer(4096));
    const [first, second] = [staging.take(64), staging.take(64)];
    staging.give(first);
    staging.give(second);
    expect([staging.take(60), staging.take(1)]).toEqual([second, first]);
  });

  it('says when there is none, and has one again after a give', () => {
    const staging = new Staging(new ArrayBuffer(STAGED_BYTES_MAX + 64));
    const block = staging.take(STAGED_BYTES_MAX);
    expect(staging.take(STAGED_BYTES_MAX)).toBe(-1);
    expect(staging.take(64)).toBeGreaterThanOrEqual(0);
    expect(staging.take(64)).toBe(-1);
    staging.give(block);
    expect(staging.take(STAGED_BYTES_MAX)).toBe(block);
  });
});
