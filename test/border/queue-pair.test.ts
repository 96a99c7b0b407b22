import { describe, expect, it } from 'vitest';
import { FabricError } from '../../src/errors.js';
import { type Door, FabricFixture } from '../helpers/fabric-fixture.js';

const MIB = 1024 * 1024;
const DOORS: Door[] = ['tcp', 'unix'];

function pattern(length: number, first: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + i * 7 + (i >> 12)) & 0xff);
}

describe.each(DOORS)('queue pair over %s', (door) => {
  it.each([false, true])('moves every length both ways, CRC %s', async (crc) => {
    await using fabric = new FabricFixture({ lengthBytes: 8 * MIB });
    const queuePair = await fabric.connect(door, { crc });
    const { stag } = fabric;
    for (const length of [0, 1, 7, 64, 65, 4096, 16384, 16385, 70_001, 3 * MIB + 5]) {
      const bytes = pattern(length, length & 0xff);
      await queuePair.write({ stag, offset: 13, bytes });
      expect(Buffer.compare(await queuePair.read({ stag, offset: 13, length }), bytes)).toBe(0);
      const memory = new Uint8Array(length + 2).fill(0xee);
      const inner = memory.subarray(1, 1 + length);
      expect(await queuePair.readInto({ stag, offset: 13, memory: inner })).toBe(inner);
      expect(Buffer.compare(inner, bytes)).toBe(0);
      expect([memory[0], memory[length + 1]]).toEqual([0xee, 0xee]);
      queuePair.writeSync({ stag, offset: 4 * MIB, bytes });
      const back = queuePair.readSync({ stag, offset: 4 * MIB, length });
      expect(Buffer.compare(back, bytes)).toBe(0);
      queuePair.readIntoSync({ stag, offset: 4 * MIB, memory: inner });
      expect(Buffer.compare(inner, bytes)).toBe(0);
    }
  });

  it('does atomics', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect(door);
    const place = { stag: fabric.stag, offset: 4096 };
    const top = 2n ** 64n - 1n;
    expect(await queuePair.fetchAdd({ ...place, addend: top })).toBe(0n);
    expect(queuePair.fetchAddSync({ ...place, addend: 3n })).toBe(top);
    expect(await queuePair.compareSwap({ ...place, expected: 5n, desired: 9n })).toBe(2n);
    expect(queuePair.compareSwapSync({ ...place, expected: 2n, desired: 9n })).toBe(2n);
    expect(await queuePair.fetchAdd({ ...place, addend: 0n })).toBe(9n);
    const adds = Array.from({ length: 500 }, () => queuePair.fetchAdd({ ...place, addend: 1n }));
    expect(new Set(await Promise.all(adds)).size).toBe(500);
  });

  it('takes more than it has slots for, in order', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect(door, { depth: 4 });
    const { stag } = fabric;
    const writes = Array.from({ length: 3000 }, (_, i) =>
      queuePair.write({ stag, offset: (i % 10) * 64, bytes: pattern(64, i) }),
    );
    const reads = Array.from({ length: 3000 }, (_, i) =>
      queuePair.read({ stag, offset: (i % 10) * 64, length: 64 }),
    );
    expect(queuePair.inFlight).toBeGreaterThan(5000);
    await Promise.all(writes);
    for (const [i, bytes] of (await Promise.all(reads)).entries()) {
      expect(bytes).toEqual(pattern(64, 2990 + (i % 10)));
    }
    expect(queuePair.inFlight).toBe(0);
  });

  it('sees its own writes without a fence, and fences them', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect(door);
    const { stag } = fabric;
    const bytes = pattern(40_000, 1);
    const written = queuePair.write({ stag, offset: 100, bytes, fenced: false });
    const read = queuePair.read({ stag, offset: 100, length: 40_000 });
    await written;
    expect(Buffer.compare(await read, bytes)).toBe(0);
    await expect(queuePair.fence()).resolves.toBeUndefined();
  });
});

describe('queue pair errors', () => {
  it('fails the refused READ with what the Terminate says, the others repeatably', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const [good, bad, behind] = await Promise.allSettled([
      queuePair.read({ stag, offset: 0, length: 8 }),
      queuePair.read({ stag: (stag ^ 1) >>> 0, offset: 0, length: 8 }),
      queuePair.read({ stag, offset: 0, length: 8 }),
    ]);
    expect(good.status === 'fulfilled' || good.reason.code === 'ERR_CONNECTION').toBe(true);
    const reason = (bad as PromiseRejectedResult).reason;
    expect(reason).toBeInstanceOf(FabricError);
    expect(reason).toMatchObject({ code: 'ERR_STAG', rdmap: { layer: 0, type: 1, code: 0 } });
    expect((behind as PromiseRejectedResult).reason.code).toBe('ERR_CONNECTION');
    expect(queuePair.ended).toBe(true);
    const later = queuePair.read({ stag, offset: 0, length: 8 });
    await expect(later).rejects.toMatchObject({ code: 'ERR_CONNECTION' });
  });

  it('knows that its connection ended with the only request in flight', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const beyond = queuePair.read({ stag, offset: MIB, length: 1 });
    await expect(beyond).rejects.toMatchObject({ code: 'ERR_BOUNDS' });
    expect(queuePair.ended).toBe(true);
  });

  it.each([8, 40_000])('names the WRITE of %i bytes that went beyond the end', async (length) => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const bytes = new Uint8Array(length);
    const [good, bad, behind] = await Promise.allSettled([
      queuePair.write({ stag, offset: 0, bytes }),
      queuePair.write({ stag, offset: MIB - 4, bytes }),
      queuePair.write({ stag, offset: 64, bytes }),
    ]);
    expect((bad as PromiseRejectedResult).reason).toMatchObject({
      code: 'ERR_BOUNDS',
      rdmap: { layer: 1, type: 1, code: 1 },
    });
    for (const other of [good, behind] as PromiseRejectedResult[]) {
      expect(['ERR_OUTCOME_UNKNOWN', 'ERR_CONNECTION']).toContain(other.reason.code);
    }
  });

  it('refuses writes and atomics to read-only memory', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB, access: 'read-only' });
    const { stag } = fabric;
    const writer = await fabric.connect();
    await expect(writer.write({ stag, offset: 0, bytes: new Uint8Array(8) })).rejects.toMatchObject(
      { code: 'ERR_ACCESS' },
    );
    const adder = await fabric.connect();
    await expect(adder.fetchAdd({ stag, offset: 0, addend: 1n })).rejects.toMatchObject({
      code: 'ERR_ACCESS',
    });
    const reader = await fabric.connect();
    expect(await reader.read({ stag, offset: 0, length: 4 })).toEqual(new Uint8Array(4));
  });

  it('refuses what cannot be asked, and goes on', async () => {
    await using fabric = new FabricFixture({ lengthBytes: MIB });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const refused: [() => Promise<unknown>, string][] = [
      [() => queuePair.read({ stag: -1, offset: 0, length: 1 }), 'ERR_ARGUMENT'],
      [() => queuePair.read({ stag, offset: 0.5, length: 1 }), 'ERR_ARGUMENT'],
      [() => queuePair.read({ stag, offset: 2 ** 53, length: 1 }), 'ERR_ARGUMENT'],
      [() => queuePair.read({ stag, offset: 0, length: 2 ** 32 }), 'ERR_ARGUMENT'],
      [() => queuePair.read({ stag, offset: 0, length: Number.NaN }), 'ERR_ARGUMENT'],
      [() => queuePair.write({ stag, offset: 0, bytes: [1] as never }), 'ERR_ARGUMENT'],
      [() => queuePair.fetchAdd({ stag, offset: 4, addend: 1n }), 'ERR_ALIGNMENT'],
      [() => queuePair.fetchAdd({ stag, offset: 8, addend: 1 as never }), 'ERR_ARGUMENT'],
    ];
    for (const [call, code] of refused) await expect(call()).rejects.toMatchObject({ code });
    expect(() => queuePair.readSync({ stag, offset: -1, length: 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    expect((await queuePair.read({ stag, offset: 0, length: 1 })).length).toBe(1);
  });
});
