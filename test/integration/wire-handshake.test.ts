/** Connection set-up with peers that are not ours: RFC 5044 section 7.1, RFC 6581. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { frame, OP, QUEUE, readRequest, tagged, untagged } from '../helpers/wire/fpdu.js';
import { WireHost, type WireRegion } from '../helpers/wire/host.js';
import {
  MPA,
  type MpaRequest,
  mpaRequest,
  parseRpma,
  RTR,
  SIW_REQUEST,
} from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

const SIZE = 1 << 20;
let host: WireHost;
let region: WireRegion;
let port: number;
let stag: number;

beforeAll(async () => {
  host = new WireHost();
  region = host.anonymous(SIZE);
  ({ port, stag } = host.exported(region));
  const { peer } = await WirePeer.connect(port);
  using writer = peer;
  writer.write({ stag, to: 0, payload: Buffer.from('farpage!') });
  expect(await writer.read({ stag, to: 0, size: 8 })).toEqual(Buffer.from('farpage!'));
});
afterAll(() => host[Symbol.dispose]());

async function readsOver(peer: WirePeer): Promise<void> {
  expect((await peer.read({ stag, to: 0, size: 8 })).toString()).toBe('farpage!');
}

describe('the independent codec', () => {
  const tail = '8eebfe0000007fe12f8aa000000003e9abcdef010000000100000005';
  it('makes the frames and sums that a kernel accepted', () => {
    const read = readRequest(1, {
      sinkStag: 0x8eebfe00,
      sinkTo: 0x7fe12f8aa000n,
      size: 1001,
      stag: 0xabcdef01,
      to: 0x100000005n,
    });
    const head = '002e414100000000000000010000000100000000';
    expect(frame(read, true).toString('hex')).toBe(`${head}${tail}29338ad4`);
    const write = tagged({ op: OP.write, stag: 1, to: 0 });
    expect(frame(write, true).toString('hex')).toBe('000ec140000000010000000000000000ebd34c5f');
  });

  it('makes the request of the reference trace', () => {
    const bytes = '4d504120494420526571204672616d65100200040001' + '0001';
    expect(mpaRequest(SIW_REQUEST).toString('hex')).toBe(bytes);
  });
});

describe('a standard peer', () => {
  it('asks like siw: revision 2, S, depths of 1', async () => {
    const { peer, reply } = await WirePeer.connect(port);
    using siw = peer;
    expect(reply).toMatchObject({ flags: MPA.enhanced, revision: 2, ird: 1, ord: 1 });
    expect(reply.irdWord).toBe(1);
    expect(reply.ordWord).toBe(1);
    await readsOver(siw);
  });

  it('is of revision 1 and gets a plain reply', async () => {
    const { peer, reply } = await WirePeer.connect(port, { flags: 0, revision: 1 });
    using plain = peer;
    expect(reply).toMatchObject({ flags: 0, revision: 1, enhanced: false, rejected: false });
    expect(parseRpma(reply.privateData).rkey).toBe(stag);
    await readsOver(plain);
  });

  it('is of revision 2 without S and gets no enhanced data', async () => {
    const { peer, reply } = await WirePeer.connect(port, { flags: 0, revision: 2 });
    using plain = peer;
    expect(reply).toMatchObject({ flags: 0, revision: 2, enhanced: false });
    await readsOver(plain);
  });

  it('sets bits that mean nothing (0x08, 0x07), which are ignored', async () => {
    const { peer, reply } = await WirePeer.connect(port, { ...SIW_REQUEST, flags: 0x1f });
    using gso = peer;
    expect(reply.flags).toBe(MPA.enhanced);
    await readsOver(gso);
  });

  it('asks for CRC and gets it', async () => {
    const flags = MPA.enhanced | MPA.crc;
    const { peer, reply } = await WirePeer.connect(port, { ...SIW_REQUEST, flags });
    using summing = peer;
    expect(reply.crc).toBe(true);
    expect(summing.crc).toBe(true);
    await readsOver(summing);
    const payload = Buffer.alloc(5001, 7);
    summing.write({ stag, to: 4096, payload });
    expect(await summing.read({ stag, to: 4096, size: 5001 })).toEqual(payload);
  });

  it('sends anything in the CRC field when nobody asked for CRC', async () => {
    const { peer } = await WirePeer.connect(port);
    using careless = peer;
    const sink = { sinkStag: 1, sinkTo: 2n, size: 8 };
    const bytes = frame(readRequest(1, { ...sink, stag, to: 0 }), false);
    bytes.writeUInt32BE(0xdeadbeef, bytes.length - 4);
    careless.send(bytes);
    expect((await careless.response(sink)).toString()).toBe('farpage!');
  });

  it.each([
    ['more than we take', 500, 200, 128, 128],
    ['our limit', 128, 128, 128, 128],
    ['nothing', 0, 0, 0, 0],
    ['no IRD', 0, 16, 16, 0],
    ['no ORD', 16, 0, 0, 16],
    ['no negotiation', 0x3fff, 0x3fff, 0x3fff, 0x3fff],
  ])('asks for %s: IRD %i, ORD %i', async (_, ird, ord, ourIrd, ourOrd) => {
    const { peer, reply } = await WirePeer.connect(port, { ...SIW_REQUEST, ird, ord });
    using asking = peer;
    expect([reply.ird, reply.ord]).toEqual([ourIrd, ourOrd]);
    // perftest's control connection has depths of 0 and exchanges Sends.
    asking.post(untagged({ op: OP.send, queue: QUEUE.send, msn: 1, payload: Buffer.alloc(56) }));
    if (ord > 0) await readsOver(asking);
    await expect(stays(asking)).resolves.toBe(true);
  });

  it('sends its request a byte at a time, and its READ as well', async () => {
    using split = await WirePeer.open(port);
    await split.sendSplit(mpaRequest(SIW_REQUEST));
    await split.reply();
    const sink = { sinkStag: 9, sinkTo: 8n, size: 8 };
    await split.sendSplit(frame(readRequest(1, { ...sink, stag, to: 0 }), false));
    expect((await split.response(sink)).toString()).toBe('farpage!');
    const write = tagged({ op: OP.write, stag, to: 64, payload: Buffer.from('slowly') });
    await split.sendSplit(frame(write, false));
    split.msn = 2;
    expect((await split.read({ stag, to: 64, size: 6 })).toString()).toBe('slowly');
  });

  it('hears nothing before its first FPDU but the reply', async () => {
    const { peer } = await WirePeer.connect(port);
    using silent = peer;
    await expect(stays(silent)).resolves.toBe(true);
  });
});

describe('peer-to-peer set-up', () => {
  const offer = (bits: { ird?: number; ord?: number }): MpaRequest => ({
    ...SIW_REQUEST,
    ird: RTR.peerToPeer | (bits.ird ?? 0) | 4,
    ord: (bits.ord ?? 0) | 4,
  });

  it('takes a zero-length Write whose STag means nothing, as siw sends it', async () => {
    const { peer, reply } = await WirePeer.connect(port, offer({ ord: RTR.write | RTR.read }));
    using siw = peer;
    expect(reply.irdWord).toBe(RTR.peerToPeer | 4);
    expect(reply.ordWord).toBe(RTR.write | 4);
    siw.post(tagged({ op: OP.write, stag: 1, to: 0 }));
    await readsOver(siw);
  });

  it('answers a zero-length Read whose STag means nothing', async () => {
    const { peer, reply } = await WirePeer.connect(port, offer({ ord: RTR.read }));
    using reading = peer;
    expect(reply.ordWord).toBe(RTR.read | 4);
    expect(await reading.read({ stag: 1, to: 0, size: 0 })).toHaveLength(0);
    await readsOver(reading);
  });

  it('takes a zero-length Send', async () => {
    const { peer, reply } = await WirePeer.connect(port, offer({ ird: RTR.send }));
    using sending = peer;
    expect(reply.irdWord).toBe(RTR.peerToPeer | RTR.send | 4);
    expect(reply.ordWord).toBe(4);
    sending.post(untagged({ op: OP.send, queue: QUEUE.send, msn: 1 }));
    await readsOver(sending);
  });

  it('rejects a peer that offers no ready-to-receive', async () => {
    const { peer, reply } = await WirePeer.connect(port, offer({}));
    using bare = peer;
    expect(reply.rejected).toBe(true);
    await bare.end();
  });

  it('keeps A and its bits clear for who did not set them', async () => {
    const request = { ...SIW_REQUEST, ird: RTR.send | 1, ord: RTR.write | RTR.read | 1 };
    const { peer, reply } = await WirePeer.connect(port, request);
    using plain = peer;
    expect([reply.irdWord, reply.ordWord]).toEqual([1, 1]);
    await readsOver(plain);
  });
});

describe('what is refused', () => {
  it('markers: a reject in the form that was asked, then the end', async () => {
    const flags = MPA.enhanced | MPA.markers;
    const { peer, reply } = await WirePeer.connect(port, { ...SIW_REQUEST, flags });
    using marking = peer;
    expect(reply).toMatchObject({ flags: MPA.enhanced | MPA.rejected, revision: 2 });
    await marking.end();
  });

  it.each([
    ['the key of a reply', Buffer.from('MPA ID Rep Frame\x10\x02\0\x04\0\x01\0\x01', 'latin1')],
    ['revision 0', mpaRequest({ flags: 0, revision: 0 })],
    ['revision 3', mpaRequest({ ...SIW_REQUEST, revision: 3 })],
    ['S with 3 bytes', Buffer.concat([mpaRequest(SIW_REQUEST, 3)])],
    ['513 bytes of private data', mpaRequest({ flags: 0, revision: 1 }, 513)],
    ['65535 bytes of private data', mpaRequest({ flags: 0, revision: 1 }, 65535)],
  ])('%s: the end, without a word', async (_, bytes) => {
    using wrong = await WirePeer.open(port);
    wrong.send(bytes);
    await wrong.end();
  });

  it('not 512 bytes of private data, the most there may be', async () => {
    const privateData = Buffer.alloc(508, 0xee);
    const { peer, reply } = await WirePeer.connect(port, { ...SIW_REQUEST, privateData });
    using wordy = peer;
    expect(reply.rejected).toBe(false);
    await readsOver(wordy);
  });
});

/** Whether the connection is still there and quiet after a while. */
async function stays(peer: WirePeer): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, 100));
  return !peer.ended && peer.pending === 0;
}
