/**
 * Requests that must not be served: each ends in the Terminate that the RFCs name for it, with the
 * offending headers, and takes no other connection with it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AOP,
  atomicRequest,
  frame,
  OP,
  pack,
  QUEUE,
  readRequest,
  tagged,
  untagged,
} from '../helpers/wire/fpdu.js';
import { ticketRequest, WireHost, type WireRegion } from '../helpers/wire/host.js';
import { MPA, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';
import { type Terminate, terminateCode } from '../helpers/wire/terminate.js';

const SIZE = 1 << 20;
const ALL = 2n ** 64n - 1n;
let host: WireHost;
let region: WireRegion;
let readWrite: { port: number; stag: number };
let readOnly: { port: number; stag: number };
let bystander: WirePeer;

beforeAll(async () => {
  host = new WireHost();
  region = host.anonymous(SIZE);
  readWrite = host.exported(region);
  readOnly = host.exported(region, { access: 'read-only' });
  ({ peer: bystander } = await WirePeer.connect(readWrite.port));
});
afterAll(() => {
  bystander.socket.destroy();
  host[Symbol.dispose]();
});
/** Whatever a test did, the others are served. */
afterEach(async () => {
  expect(await bystander.read({ stag: readWrite.stag, to: 0, size: 4096 })).toHaveLength(4096);
});

/** Sends ULPDUs on a connection of its own and returns the Terminate that answers them. */
async function refused(ulpdus: readonly Buffer[], port = readWrite.port): Promise<Terminate> {
  const { peer } = await WirePeer.connect(port, { ...SIW_REQUEST, ird: 16, ord: 16 });
  using one = peer;
  for (const ulpdu of ulpdus) one.post(ulpdu);
  const terminate = await one.terminate();
  const last = ulpdus.at(-1) as Buffer;
  const header = (last.readUInt8(0) & 0x80) !== 0 ? 14 : 18;
  // The headers of the FPDU at fault come back as they were sent.
  expect(terminate.segmentBytes).toBe(last.length);
  expect(terminate.ddp?.toString('hex')).toBe(last.subarray(0, header).toString('hex'));
  return terminate;
}

const read = (fields: Partial<Parameters<typeof readRequest>[1]>, msn = 1) =>
  readRequest(msn, { sinkStag: 7, sinkTo: 4096, size: 64, stag: readWrite.stag, to: 0, ...fields });
const write = (fields: Partial<Parameters<typeof tagged>[0]>) =>
  tagged({ op: OP.write, stag: readWrite.stag, to: 0, payload: Buffer.alloc(64), ...fields });
const send = (fields: Partial<Parameters<typeof untagged>[0]>) =>
  untagged({ op: OP.send, queue: QUEUE.send, msn: 1, payload: Buffer.alloc(8), ...fields });
const atomic = (fields: Partial<Parameters<typeof atomicRequest>[1]>, msn = 1) =>
  atomicRequest(msn, {
    operation: AOP.fetchAdd,
    id: 99,
    stag: readWrite.stag,
    to: 0,
    operand: 1n,
    mask: 0n,
    ...fields,
  });

describe('a Read Request', () => {
  it.each([
    ['an unknown STag', '0/1/00', () => read({ stag: (readWrite.stag ^ 0x100) >>> 0 })],
    ['the STag of another export', '0/1/00', () => read({ stag: readOnly.stag })],
    ['STag 0', '0/1/00', () => read({ stag: 0 })],
    ['one byte too many', '0/1/01', () => read({ to: SIZE - 63 })],
    ['the end of the region', '0/1/01', () => read({ to: SIZE, size: 1 })],
    ['4 GiB - 1', '0/1/01', () => read({ size: 0xffffffff })],
    ['an offset of 2^63', '0/1/01', () => read({ to: 2n ** 63n })],
    ['an offset and a length that wrap', '0/1/04', () => read({ to: ALL - 62n })],
    ['an offset and 4 GiB - 1 that wrap', '0/1/04', () => read({ to: ALL, size: 0xffffffff })],
  ])('of %s: %s', async (_, code, ulpdu) => {
    const request = ulpdu();
    const terminate = await refused([request]);
    expect(terminateCode(terminate)).toBe(code);
    expect(terminate.read?.toString('hex')).toBe(request.subarray(18).toString('hex'));
  });

  it.each([
    ['MSN 0', 0],
    ['MSN 2', 2],
    ['MSN 2^32 - 1', 0xffffffff],
  ])('with %s first: 1/2/03', async (_, msn) => {
    expect(terminateCode(await refused([read({}, msn)]))).toBe('1/2/03');
  });

  it('with an MSN that was used: 1/2/03, behind the answer to the first', async () => {
    const { peer } = await WirePeer.connect(readWrite.port);
    using one = peer;
    expect(await one.read({ stag: readWrite.stag, to: 0, size: 5 })).toHaveLength(5);
    one.post(read({}, 1));
    expect(terminateCode(await one.terminate())).toBe('1/2/03');
  });

  it.each([
    ['is cut into two', '1/2/05', { last: false }],
    ['begins in its middle', '1/2/04', { mo: 4 }],
    ['is on the queue of Sends', '1/2/01', { queue: QUEUE.send }],
    ['is on queue 4', '1/2/01', { queue: 4 }],
    ['is too long', '1/2/05', { payload: Buffer.alloc(29) }],
    ['is too short', '0/2/ff', { payload: Buffer.alloc(27) }],
    ['is of DDP version 0', '1/2/06', { ddp: 0x40 }],
    ['is of DDP version 2', '1/2/06', { ddp: 0x42 }],
    ['is of RDMAP version 0', '0/2/05', { rdmap: 0x01 }],
    ['is of RDMAP version 3', '0/2/05', { rdmap: 0xc1 }],
  ])('that %s: %s', async (_, code, fields) => {
    const payload = Buffer.alloc(28);
    const options = { op: OP.readRequest, queue: QUEUE.request, msn: 1, payload, ...fields };
    expect(terminateCode(await refused([untagged(options)]))).toBe(code);
  });
});

describe('a Write', () => {
  it.each([
    ['an unknown STag', '1/1/00', () => write({ stag: (readWrite.stag ^ 0x100) >>> 0 })],
    ['the STag of another export', '1/1/00', () => write({ stag: readOnly.stag })],
    ['one byte too many', '1/1/01', () => write({ to: SIZE - 63 })],
    ['an offset of 2^63', '1/1/01', () => write({ to: 2n ** 63n })],
    ['an offset that wraps', '1/1/03', () => write({ to: ALL - 62n })],
    ['DDP version 2', '1/1/04', () => write({ ddp: 0xc2 })],
    ['RDMAP version 2', '0/2/05', () => write({ rdmap: 0x80 })],
    ['a second segment beyond the end', '1/1/01', () => write({ to: SIZE })],
  ])('of %s: %s', async (_, code, ulpdu) => {
    expect(terminateCode(await refused([write({ last: false }), ulpdu()]))).toBe(code);
  });

  it('to a port that is read-only: 0/1/02, and nothing is changed', async () => {
    const payload = Buffer.alloc(64, 0x66);
    const refusal = await refused(
      [write({ stag: readOnly.stag, to: 512, payload })],
      readOnly.port,
    );
    expect(terminateCode(refusal)).toBe('0/1/02');
    const stays = await bystander.read({ stag: readWrite.stag, to: 512, size: 64 });
    expect(stays).toEqual(Buffer.alloc(64));
  });

  it('of 64 KiB to nowhere, of which only the header has come', async () => {
    const { peer } = await WirePeer.connect(readWrite.port);
    using one = peer;
    const whole = frame(write({ stag: 1, payload: Buffer.alloc(65000) }), false);
    one.send(whole.subarray(0, 1000));
    expect(terminateCode(await one.terminate())).toBe('1/1/00');
  });
});

describe('a Send', () => {
  it.each([
    ['is on the queue of READs', '1/2/01', () => send({ queue: QUEUE.request })],
    ['is on queue 0xffffffff', '1/2/01', () => send({ queue: 0xffffffff })],
    ['has MSN 2 first', '1/2/03', () => send({ msn: 2 })],
    ['invalidates an STag', '0/2/06', () => send({ op: OP.sendInvalidate })],
    ['is an Immediate of 7 bytes', '0/2/ff', () => send({ op: 8, payload: Buffer.alloc(7) })],
  ])('that %s: %s', async (_, code, ulpdu) => {
    expect(terminateCode(await refused([ulpdu()]))).toBe(code);
  });

  it('is taken and forgotten, whole or in segments', async () => {
    const { peer } = await WirePeer.connect(readWrite.port);
    using one = peer;
    one.post(send({ payload: Buffer.alloc(5000) }));
    one.post(send({ msn: 2, last: false }));
    one.post(send({ msn: 2, mo: 8 }));
    one.post(send({ msn: 3, op: OP.sendSolicited }));
    expect(await one.read({ stag: readWrite.stag, to: 0, size: 5 })).toHaveLength(5);
  });
});

describe('an opcode', () => {
  it.each([
    ...[0x0, 0x2, 0xc, 0xd, 0xe, 0xf].map((op) => ['untagged', op] as const),
    ...[0x1, 0x3, 0x7, 0xa, 0xc, 0xf].map((op) => ['tagged', op] as const),
  ])('%s %i is unknown: 0/2/06', async (kind, op) => {
    const ulpdu = kind === 'tagged' ? write({ op }) : send({ op });
    expect(terminateCode(await refused([ulpdu]))).toBe('0/2/06');
  });

  it('that only we may use, a Read Response: 0/2/06', async () => {
    expect(terminateCode(await refused([write({ op: OP.readResponse })]))).toBe('0/2/06');
  });

  it('that only we may use, an Atomic Response: 0/2/06', async () => {
    const fields = { queue: QUEUE.atomicResponse, payload: Buffer.alloc(12) };
    expect(terminateCode(await refused([send({ op: OP.atomicResponse, ...fields })]))).toBe(
      '0/2/06',
    );
  });
});

describe('an Atomic Request', () => {
  it.each([
    ['an unknown STag', '0/1/00', () => atomic({ stag: (readWrite.stag ^ 0x100) >>> 0 })],
    ['the end of the region', '0/1/01', () => atomic({ to: SIZE })],
    ['7 bytes at the end', '0/1/01', () => atomic({ to: SIZE - 7 })],
    ['an unaligned word', '0/2/07', () => atomic({ to: 4 })],
    ['an odd word', '0/2/07', () => atomic({ operation: AOP.compareSwap, to: 4097 })],
    ['operation 1', '0/2/06', () => atomic({ operation: 1 })],
    ['operation 0xffffffff', '0/2/06', () => atomic({ operation: 0xffffffff })],
    ['MSN 2 first', '1/2/03', () => atomic({}, 2)],
  ])('of %s: %s', async (_, code, ulpdu) => {
    expect(terminateCode(await refused([ulpdu()]))).toBe(code);
  });

  it('to a port that is read-only: 0/1/02', async () => {
    const ulpdu = atomic({ stag: readOnly.stag });
    expect(terminateCode(await refused([ulpdu], readOnly.port))).toBe('0/1/02');
  });
});

describe('the stream', () => {
  it('with a wrong CRC ends: 2/0/02, and the message is not acted on', async () => {
    const flags = MPA.enhanced | MPA.crc;
    const { peer } = await WirePeer.connect(readWrite.port, { ...SIW_REQUEST, flags });
    using one = peer;
    const bytes = frame(write({ to: 1024, payload: Buffer.alloc(64, 0x77) }), true);
    bytes.writeUInt8(0x76, 40);
    one.send(bytes);
    expect(terminateCode(await one.terminate())).toBe('2/0/02');
    const stays = await bystander.read({ stag: readWrite.stag, to: 1024, size: 64 });
    expect(stays).toEqual(Buffer.alloc(64));
  });

  it.each([0, 1, 13])('with a tagged ULPDU of %i bytes ends: 0/2/ff', async (bytes) => {
    const { peer } = await WirePeer.connect(readWrite.port);
    using one = peer;
    one.send(Buffer.concat([pack([bytes, 2], [0xc1, 1], [0x40, 1]), Buffer.alloc(60)]));
    expect(terminateCode(await one.terminate())).toBe('0/2/ff');
  });

  it('with more READs than were granted ends: 1/2/02', async () => {
    const { domain, stag } = host.domain(region);
    const request = ticketRequest(host.ticket(domain), 0, 4);
    const { peer, reply } = await WirePeer.connect(host.port, request);
    using one = peer;
    expect(reply.ird).toBe(4);
    // A peer that does not take its answers: the fifth READ finds none of the four answered.
    one.socket.pause();
    const reads = Array.from({ length: 64 }, (_, n) => read({ stag, size: SIZE }, n + 1));
    one.send(Buffer.concat(reads.map((ulpdu) => frame(ulpdu, false))));
    await new Promise((resolve) => setTimeout(resolve, 200));
    one.socket.resume();
    let got = await one.next();
    while (got.op === OP.readResponse) got = await one.next();
    expect(got.op).toBe(OP.terminate);
    expect(got.payload.toString('hex', 0, 2)).toBe('1202');
  });

  it('ends without an answer when the peer terminates it', async () => {
    const before = host.nic.stats().connections;
    const { peer } = await WirePeer.connect(readWrite.port);
    using one = peer;
    const payload = pack([0x11, 1], [0x00, 1], [0, 2]);
    one.post(untagged({ op: OP.terminate, queue: QUEUE.terminate, msn: 1, payload }));
    await one.end();
    await expect.poll(() => host.nic.stats().connections).toBe(before);
  });
});
