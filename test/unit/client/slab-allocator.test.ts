import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SlabAllocator } from '../../../src/client/slab-allocator.js';
import type { FarpageError } from '../../../src/errors.js';

type Slab = { offset: number; length: number };

const step = fc.oneof(
  fc.record({
    length: fc.integer({ min: 1, max: 9000 }),
    align: fc.constantFrom(1, 64, 256, 4096),
  }),
  fc.record({ free: fc.nat() }),
);

const codeOf = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return (error as FarpageError).code;
  }
  return undefined;
};

describe('SlabAllocator', () => {
  it('never lends a byte twice, keeps alignment and count, and gets everything back', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const size = 128 * 1024 + 17;
        const allocator = new SlabAllocator({ lengthBytes: size });
        const slabs: Slab[] = [];
        for (const each of steps) {
          if ('free' in each) {
            const [gone] = slabs.splice(each.free % (slabs.length || 1), 1);
            if (gone !== undefined) allocator.free(gone.offset);
          } else {
            const length = Math.ceil(each.length / 64) * 64;
            try {
              const offset = allocator.allocate(each.length, { align: each.align });
              expect(offset % each.align).toBe(0);
              expect(offset + length).toBeLessThanOrEqual(size);
              for (const other of slabs) {
                const apart =
                  offset >= other.offset + other.length || other.offset >= offset + length;
                expect(apart).toBe(true);
              }
              slabs.push({ offset, length });
            } catch (error) {
              expect((error as FarpageError).code).toBe('ERR_SLAB_FULL');
              expect(allocator.longestBytes).toBeLessThan(length + each.align);
            }
          }
          const used = slabs.reduce((sum, { length }) => sum + length, 0);
          expect(allocator.freeBytes).toBe(128 * 1024 - used);
          expect(allocator.slabs).toBe(slabs.length);
        }
        for (const { offset } of slabs) allocator.free(offset);
        expect(allocator.longestBytes).toBe(128 * 1024);
      }),
      { numRuns: 150 },
    );
  });

  it('takes the piece that fits best', () => {
    const allocator = new SlabAllocator({ lengthBytes: 64 * 20 });
    const offsets = [4, 1, 2, 1, 12].map((granules) => allocator.allocate(granules * 64));
    allocator.free(offsets[0]!);
    allocator.free(offsets[2]!);
    expect(allocator.allocate(100)).toBe(offsets[2]);
    expect(allocator.allocate(256)).toBe(offsets[0]);
  });

  it('finds an aligned piece behind many that alignment spoils', () => {
    const allocator = new SlabAllocator({ lengthBytes: 4096 * 200 });
    const all = Array.from({ length: 100 }, () => [
      allocator.allocate(4096 - 64),
      allocator.allocate(4096 + 64),
    ]);
    for (const [index, pair] of all.entries()) if (index !== 50) allocator.free(pair[1]!);
    allocator.free(all[50]![1]!);
    expect(allocator.allocate(4096, { align: 4096 }) % 4096).toBe(0);
  });

  it('works at the size of 1 TiB and above', () => {
    const allocator = new SlabAllocator({ lengthBytes: 2 ** 50 });
    expect(allocator.allocate(2 ** 40)).toBe(0);
    expect(allocator.allocate(2 ** 40, { align: 2 ** 45 })).toBe(2 ** 45);
  });

  it.each([
    ['ERR_ARGUMENT', (a: SlabAllocator) => a.allocate(0)],
    ['ERR_ARGUMENT', (a: SlabAllocator) => a.allocate(1.5)],
    ['ERR_ARGUMENT', (a: SlabAllocator) => a.allocate(64, { align: 96 })],
    ['ERR_ARGUMENT', (a: SlabAllocator) => a.free(64)],
    ['ERR_SLAB_FULL', (a: SlabAllocator) => a.allocate(4097)],
  ])('ends in %s', (code, run) => {
    expect(codeOf(() => run(new SlabAllocator({ lengthBytes: 4096 })))).toBe(code);
  });

  it('bounds its own map and refuses a second free', () => {
    const allocator = new SlabAllocator({ lengthBytes: 2 ** 30, slabsMax: 2 });
    const first = allocator.allocate(1);
    allocator.allocate(1);
    expect(codeOf(() => allocator.allocate(1))).toBe('ERR_SLAB_FULL');
    allocator.free(first);
    expect(codeOf(() => allocator.free(first))).toBe('ERR_ARGUMENT');
    expect(allocator.allocate(1)).toBe(first);
  });
});
