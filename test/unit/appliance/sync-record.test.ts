import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
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
    first.begin({ lost: false, renewed: true, written: true });
    const second = SyncRecord.open(path);
    expect(second.lives).toEqual({ life: 1, nextLife: 2 });
    second.begin({ lost: false, renewed: false, written: true });
    expect(SyncRecord.open(path).lives.life).toBe(1);
    second.writable({ disown: true });
    expect(SyncRecord.open(path).lives).toEqual({ life: 2, nextLife: 3 });
  });

  it('are none yet in a record of before, whose other numbers are read', () => {
    const path = join(scratch(), 'r.sync');
    writeFileSync(path, Buffer.concat([slotBefore([8, 5, 2, 0]), slotBefore([7, 4, 2, 1])]));
    const found = SyncRecord.open(path);
    expect(found).toMatchObject({ epoch: 5, lost: 2, unclean: false, fresh: false });
    expect(found.lives).toEqual({ life: 0, nextLife: 1 });
    found.begin({ lost: false, renewed: true, written: true });
    expect(SyncRecord.open(path)).toMatchObject({ epoch: 5, lost: 2, unclean: true });
    expect(SyncRecord.open(path).lives.life).toBe(1);
  });

  it('are others than all before where the record is damaged', () => {
    const path = join(scratch(), 'r.sync');
    for (let n = 0; n < 3; n += 1)
      SyncRecord.open(path).begin({ lost: false, renewed: true, written: true });
    writeFileSync(path, Buffer.alloc(readFileSync(path).length, 'x'));
    const found = SyncRecord.open(path);
    expect(found.unclean).toBe(true);
    expect(found.lives.life).toBeGreaterThan(1e9);
  });
});

describe('a sync record', () => {
  it('that was lost begins anew as one that is damaged does', async () => {
    const path = join(scratch(), 'r.sync');
    expect(SyncRecord.open(path, { synced: false })).toMatchObject({ fresh: true, found: 'whole' });
    rmSync(path);
    const lost = SyncRecord.open(path, { synced: true });
    expect(lost).toMatchObject({ fresh: false, found: 'missing', unclean: true, epoch: 0 });
    expect(lost.lives.life).toBeGreaterThan(1e9);
    lost.begin({ lost: true, renewed: false, written: true });
    expect(await lost.advance()).toBe(2);
    expect(SyncRecord.open(path, { synced: true })).toMatchObject({ found: 'whole', lost: 0 });
    writeFileSync(path, Buffer.alloc(readFileSync(path).length, 'x'));
    expect(SyncRecord.open(path).found).toBe('damaged');
  });

  it('counts syncs and losses over restarts, and knows how it was left', async () => {
    const path = join(scratch(), 'r.sync');
    const first = SyncRecord.open(path);
    first.begin({ lost: false, renewed: false, written: true });
    expect(await first.advance()).toBe(1);
    expect(await first.advance()).toBe(2);
    const second = SyncRecord.open(path);
    expect(second).toMatchObject({ epoch: 2, lost: null, unclean: true, inMemory: false });
    second.begin({ lost: true, renewed: false, written: true });
    expect(SyncRecord.open(path)).toMatchObject({ epoch: 3, lost: 2, unclean: true });
    second.end({ inMemory: true });
    expect(SyncRecord.open(path)).toMatchObject({ lost: 2, unclean: false, inMemory: true });
    second.end({ inMemory: false });
    expect(SyncRecord.open(path)).toMatchObject({ unclean: false, inMemory: false });
  });

  it('knows whether anybody could write in the process that was last', () => {
    const path = join(scratch(), 'r.sync');
    SyncRecord.open(path).begin({ lost: false, renewed: false, written: false });
    const second = SyncRecord.open(path);
    expect(second).toMatchObject({ unclean: true, written: false });
    second.begin({ lost: false, renewed: false, written: false });
    second.writable({ disown: false });
    expect(SyncRecord.open(path)).toMatchObject({ unclean: true, written: true });
    expect(SyncRecord.open(path).lives.life).toBe(0);
  });

  it('is the one before where a write of it was torn', async () => {
    const path = join(scratch(), 'r.sync');
    const record = SyncRecord.open(path);
    record.begin({ lost: false, renewed: false, written: true });
    for (let epoch = 1; epoch <= 4; epoch += 1) {
      const before = readFileSync(path);
      await record.advance();
      const after = readFileSync(path);
      for (let at = 0; at < after.length; at += 1) {
        if (after[at] === before[at]) continue;
        // Up to this byte the new one, from it on the old one.
        writeFileSync(path, Buffer.concat([after.subarray(0, at), before.subarray(at)]));
        expect(SyncRecord.open(path).epoch).toBe(epoch - 1);
      }
      writeFileSync(path, after);
      expect(SyncRecord.open(path).epoch).toBe(epoch);
    }
  });
});
