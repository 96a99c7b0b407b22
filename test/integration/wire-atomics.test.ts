/** Atomics on the wire, held against the algorithms of RFC 7306 sections 5.1.1 and 5.1.2. */
import { randomBytes } from 'node:crypto';
import { endianness } from 'node:os';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  AOP,
  type Atomic,
  atomicRequest,
  frame,
  OP,
  QUEUE,
  readRequest,
} from '../helpers/wire/fpdu.js';
import { WireHost } from '../helpers/wire/host.js';
import { SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

const ALL = 2n ** 64n - 1n;
const AT = 4096 + 8;
let host: WireHost;
let port: number;
let stag: number;
let peer: WirePeer;
let responses: number;

beforeAll(() => {
  host = new WireHost();
  ({ port, stag } = host.exported(host.anonymous(1 << 20)));
});
afterAll(() => host[Symbol.dispose]());
beforeEach(async () => {
  ({ peer } = await WirePeer.connect(port, { ...SIW_REQUEST, ird: 16, ord: 16 }));
  responses = 0;
  return () => peer[Symbol.dispose]();
});

/** The sum bit by bit: a bit of the mask ends a field, and no carry leaves it. */
function addByTheRfc(old: bigint, add: bigint, mask: bigint): bigint {
  let value = 0n;
  let carry = 0n;
  for (let bit = 0n; bit < 64n; bit++) {
    const sum = carry + ((old >> bit) & 1n) + ((add >> bit) & 1n);
    value |= (sum & 1n) << bit;
    carry = (mask >> bit) & 1n ? 0n : sum >> 1n;
  }
  return value;
}

function swapByTheRfc(
  old: bigint,
  { operand, mask, compare = 0n, compareMask = 0n }: Atomic,
): bigint {
  if (((old ^ compare) & compareMask) !== 0n) return old;
  return (old & ~mask & ALL) | (operand & mask);
}

/** A word of memory in its host's byte order. */
function word(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  if (endianness() === 'LE') bytes.writeBigUInt64LE(value);
  else bytes.writeBigUInt64BE(value);
  return bytes;
}

async function response(id: number): Promise<bigint> {
  const { op, queue, msn, mo, last, payload } = await peer.next();
  expect({ op, queue, mo, last }).toEqual({
    op: OP.atomicResponse,
    queue: QUEUE.atomicResponse,
    mo: 0,
    last: true,
  });
  expect(msn).toBe(++responses);
  expect(payload).toHaveLength(12);
  expect(payload.readUInt32BE(0)).toBe(id);
  return payload.readBigUInt64BE(4);
}

/** Sets the word, does one atomic, and returns the value before and the one in memory after. */
async function once(old: bigint, atomic: Omit<Atomic, 'id' | 'stag' | 'to'>): Promise<bigint[]> {
  const id = randomBytes(4).readUInt32BE();
  peer.write({ stag, to: AT, payload: word(old) });
  peer.post(atomicRequest(peer.msn++, { ...atomic, id, stag, to: AT }));
  const before = await response(id);
  const after = await peer.read({ stag, to: AT, size: 8 });
  const bytes = endianness() === 'LE' ? after.readBigUInt64LE() : after.readBigUInt64BE();
  return [before, bytes];
}

const random = () => randomBytes(8).readBigUInt64BE();

it.each([
  ['a plain sum', 40n, 2n, 0n, 42n],
  ['a plain sum that wraps', ALL, 1n, 0n, 0n],
  ['a mask of the top bit, which is a plain sum', ALL, 2n, 2n ** 63n, 1n],
  [
    'two fields of 32 bits',
    0x00000001_ffffffffn,
    0x00000001_00000001n,
    0x80000000_80000000n,
    0x00000002_00000000n,
  ],
  [
    'eight fields of a byte',
    0xff00ff00_ff00ff00n,
    0x01010101_01010101n,
    0x80808080_80808080n,
    0x00010001_00010001n,
  ],
  ['fields of one bit, which is XOR', 0b1100n, 0b1010n, ALL, 0b0110n],
])('FETCH_ADD: %s', async (_, old, operand, mask, expected) => {
  expect(addByTheRfc(old, operand, mask)).toBe(expected);
  expect(await once(old, { operation: AOP.fetchAdd, operand, mask })).toEqual([old, expected]);
});

it.each([
  ['plain, equal', 7n, 9n, ALL, 7n, ALL, 9n],
  ['plain, unequal', 8n, 9n, ALL, 7n, ALL, 8n],
  ['comparing nothing, which always swaps', 8n, 9n, ALL, 7n, 0n, 9n],
  ['swapping nothing', 7n, 9n, 0n, 7n, ALL, 7n],
  [
    'the low byte when the high byte fits',
    0xaa000000_00000011n,
    0x22n,
    0xffn,
    0xaa000000_00000000n,
    0xff000000_00000000n,
    0xaa000000_00000022n,
  ],
  [
    'not, when the compared byte differs',
    0xab000000_00000011n,
    0x22n,
    0xffn,
    0xaa000000_00000000n,
    0xff000000_00000000n,
    0xab000000_00000011n,
  ],
])('COMPARE_SWAP: %s', async (_, old, operand, mask, compare, compareMask, expected) => {
  const atomic = { operation: AOP.compareSwap, operand, mask, compare, compareMask };
  expect(await once(old, atomic)).toEqual([old, expected]);
});

it('does what the RFC does with 300 random operands and masks', async () => {
  for (let round = 0; round < 300; round++) {
    const old = random();
    const compareMask = random() & random() & random() & random();
    const near = round % 2 === 0 ? old ^ (random() & ~compareMask & ALL) : random();
    const fields = { id: 0, stag, to: AT, operand: random(), mask: random() & random() };
    const atomic: Atomic =
      round % 3 === 0
        ? { ...fields, operation: AOP.fetchAdd }
        : { ...fields, operation: AOP.compareSwap, compare: near, compareMask };
    const expected =
      round % 3 === 0 ? addByTheRfc(old, atomic.operand, atomic.mask) : swapByTheRfc(old, atomic);
    expect(await once(old, atomic)).toEqual([old, expected]);
  }
});

it('answers READs and atomics in the order of their requests', async () => {
  peer.write({ stag, to: AT, payload: word(0n) });
  const sink = (n: number) => ({ sinkStag: n + 1, sinkTo: 0n, size: 8 });
  const frames = Array.from({ length: 8 }, (_, n) => {
    const atomic = { operation: AOP.fetchAdd, id: n, stag, to: AT, operand: 1n, mask: 0n };
    const read = readRequest(n * 2 + 2, { ...sink(n), stag, to: AT });
    return [frame(atomicRequest(n * 2 + 1, atomic), false), frame(read, false)];
  });
  peer.send(Buffer.concat(frames.flat()));
  for (let n = 0; n < 8; n++) {
    expect(await response(n)).toBe(BigInt(n));
    expect(await peer.response(sink(n))).toEqual(word(BigInt(n + 1)));
  }
});

it('loses none of 2,000 additions from four connections at once', async () => {
  const to = 8192;
  const olds = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const { peer: one } = await WirePeer.connect(port, { ...SIW_REQUEST, ird: 8, ord: 8 });
      using adding = one;
      const seen: bigint[] = [];
      for (let n = 0; n < 500; n++) {
        const atomic = { operation: AOP.fetchAdd, id: n, stag, to, operand: 1n, mask: 0n };
        adding.post(atomicRequest(adding.msn++, atomic));
        seen.push((await adding.next()).payload.readBigUInt64BE(4));
      }
      return seen;
    }),
  );
  const all = olds.flat().sort((a, b) => Number(a - b));
  expect(all).toEqual(Array.from({ length: 2000 }, (_, n) => BigInt(n)));
  expect(await peer.read({ stag, to, size: 8 })).toEqual(word(2000n));
});
