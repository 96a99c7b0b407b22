/** A good conversation with some bytes changed, left out or doubled: the appliance goes on. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  AOP,
  atomicRequest,
  frame,
  OP,
  QUEUE,
  readRequest,
  tagged,
  untagged,
} from '../helpers/wire/fpdu.js';
import { ticketRequest, WireHost, type WireRegion } from '../helpers/wire/host.js';
import { MPA, mpaRequest } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

const SIZE = 1 << 20;
const RUNS = 400;
const MIB = 2 ** 20;

let host: WireHost;
let region: WireRegion;
let bystander: WirePeer;
let kept: number;

beforeAll(async () => {
  host = new WireHost();
  region = host.anonymous(SIZE);
  const { domain, stag } = host.domain(host.anonymous(SIZE));
  kept = stag;
  ({ peer: bystander } = await WirePeer.connect(host.port, ticketRequest(host.ticket(domain))));
  bystander.write({ stag, to: 0, payload: Buffer.alloc(4096, 0x5a) });
});
afterAll(() => {
  bystander[Symbol.dispose]();
  host[Symbol.dispose]();
});

function conversation(stag: number, ticket: Uint8Array, crc: boolean): Buffer {
  const request = ticketRequest(ticket);
  const atomic = { operation: AOP.fetchAdd, id: 3, stag, to: 64, operand: 1n, mask: 0n };
  const ulpdus = [
    tagged({ op: OP.write, stag, to: 100, payload: Buffer.alloc(300), last: false }),
    tagged({ op: OP.write, stag, to: 400, payload: Buffer.alloc(9000) }),
    readRequest(1, { sinkStag: 1, sinkTo: 2, size: 5000, stag, to: 3 }),
    untagged({ op: OP.send, queue: QUEUE.send, msn: 1, payload: Buffer.alloc(20) }),
    atomicRequest(2, atomic),
    readRequest(3, { sinkStag: 1, sinkTo: 2, size: 0, stag: 0, to: 0 }),
    tagged({ op: OP.write, stag, to: 0, payload: Buffer.alloc(0) }),
    readRequest(4, { sinkStag: 1, sinkTo: 2, size: 100_000, stag, to: 9 }),
  ];
  const flags = request.flags | (crc ? MPA.crc : 0);
  const frames = ulpdus.map((ulpdu) => frame(ulpdu, crc));
  return Buffer.concat([mpaRequest({ ...request, flags }), ...frames]);
}

const change = fc.record({
  kind: fc.constantFrom('flip', 'drop', 'double'),
  // The request and the first header, then the headers behind the long payload.
  at: fc.oneof(fc.nat(100), fc.integer({ min: 9300, max: 9900 })),
  bits: fc.integer({ min: 1, max: 255 }),
});

function changed(
  bytes: Buffer,
  changes: readonly { kind: string; at: number; bits: number }[],
): Buffer {
  let out = Buffer.from(bytes);
  for (const { kind, at, bits } of changes) {
    const place = at % out.length;
    if (kind === 'flip') out.writeUInt8(out.readUInt8(place) ^ bits, place);
    else {
      const [head, tail] = [out.subarray(0, place), out.subarray(place)];
      const rest =
        kind === 'drop' ? tail.subarray(bits) : Buffer.concat([tail.subarray(0, bits), tail]);
      out = Buffer.concat([head, rest]);
    }
  }
  return out;
}

it('is ended or served, whatever it says, and nobody else notices', {
  timeout: 60_000,
}, async () => {
  const { domain, stag } = host.domain(region);
  const ticket = host.ticket(domain);
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (changes, crc) => {
        using peer = await WirePeer.open(host.port);
        peer.send(changed(conversation(stag, ticket, crc), changes));
        peer.socket.end();
        peer.socket.resume();
        if (!peer.socket.closed) await new Promise((resolve) => peer.socket.on('close', resolve));
        const untouched = await bystander.read({ stag: kept, to: 0, size: 4096 });
        expect(untouched.every((byte) => byte === 0x5a)).toBe(true);
      },
    ),
    { numRuns: RUNS },
  );
  await expect.poll(() => host.nic.stats().connections).toBe(1);
});

it('unchanged, it is answered whole', async () => {
  const { domain, stag } = host.domain(region);
  using peer = await WirePeer.open(host.port);
  peer.send(conversation(stag, host.ticket(domain), true));
  expect((await peer.reply()).rejected).toBe(false);
  expect(await peer.response({ sinkStag: 1, sinkTo: 2n, size: 5000 })).toHaveLength(5000);
  expect((await peer.next()).op).toBe(OP.atomicResponse);
  expect(await peer.response({ sinkStag: 1, sinkTo: 2n, size: 0 })).toHaveLength(0);
  expect(await peer.response({ sinkStag: 1, sinkTo: 2n, size: 100_000 })).toHaveLength(100_000);
});

it('half of the largest frame holds no more than a buffer for each connection', async () => {
  const { domain, stag } = host.domain(region);
  const request = ticketRequest(host.ticket(domain));
  const half = frame(tagged({ op: OP.write, stag, to: 0, payload: Buffer.alloc(65_000) }), true);
  const before = process.memoryUsage.rss();
  const peers = await Promise.all(
    Array.from({ length: 500 }, async () => {
      const { peer } = await WirePeer.connect(host.port, { ...request, flags: 0x50 });
      peer.send(half.subarray(0, 60_000));
      return peer;
    }),
  );
  const { peer: last } = await WirePeer.connect(host.port, request);
  expect(await last.read({ stag, to: 0, size: 100 })).toHaveLength(100);
  expect(process.memoryUsage.rss() - before).toBeLessThan(500 * (0.25 * MIB));
  for (const peer of [...peers, last]) peer.socket.destroy();
  await expect.poll(() => host.nic.stats().connections).toBe(1);
});
