import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SyncRecord } from '../../../src/appliance/sync-record.js';
import { scratch } from '../../helpers/scratch.js';

/** A slot of a record as it was before lives were counted. */
function slotBefore(numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(512);
  for (const [index, number] of numbers.entries()) bytes.writeDoubleLE(number, index * 8);
  const sum = createHash('sha256').update(bytes.subarray(0, 32)).digest();
  sum.copy(bytes, 32, 0, 16);
  return bytes;
}

describe('the lives of a region', () => {
  it('are counted where memory begins to be used, and where somebody writes without it', () => {
    const path = join(scratch(), 'r.sync');
    const first = SyncRecord.open(path);
    expect(first.lives).toEqual({ life: 0, nextLife: 1 });
    first.begin({ lost: false, renewed: true });
    const second = SyncRecord.open(path);
    expect(second.lives).toEqual({ life: 1, nextLife: 2 });
    second.begin({ lost: false, renewed: false });
    expect(SyncRecord.open(path).lives.life).toBe(1);
    second.disown();
    expect(SyncRecord.open(path).lives).toEqual({ life: 2, nextLife: 3 });
  });

  it('are none yet in a record of before, whose other numbers are read', () => {
    const path = join(scratch(), 'r.sync');
    writeFileSync(path, Buffer.concat([slotBefore([8, 5, 2, 0]), slotBefore([7, 4, 2, 1])]));
    const found = SyncRecord.open(path);
    expect(found).toMatchObject({ epoch: 5, lost: 2, unclean: false, fresh: false });
    expect(found.lives).toEqual({ life: 0, nextLife: 1 });
    found.begin({ lost: false, renewed: true });
    expect(SyncRecord.open(path)).toMatchObject({ epoch: 5, lost: 2, unclean: true });
    expect(SyncRecord.open(path).lives.life).toBe(1);
  });

  it('are others than all before where the record is damaged', () => {
    const path = join(scratch(), 'r.sync');
    for (let n = 0; n < 3; n += 1) SyncRecord.open(path).begin({ lost: false, renewed: true });
    writeFileSync(path, Buffer.alloc(readFileSync(path).length, 'x'));
    const found = SyncRecord.open(path);
    expect(found.unclean).toBe(true);
    expect(found.lives.life).toBeGreaterThan(1e9);
  });
});
