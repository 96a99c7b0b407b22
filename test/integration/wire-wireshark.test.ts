/**
 * Wireshark as the judge of what goes over the wire: conversations are recorded in both directions,
 * written as captures and decoded by tshark with its defaults.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import { type Recorded, writeCapture } from '../helpers/pcap.js';
import {
  AOP,
  atomicRequest,
  frame,
  OP,
  QUEUE,
  readRequest,
  untagged,
} from '../helpers/wire/fpdu.js';
import { ticketRequest, WireHost, type WireRegion } from '../helpers/wire/host.js';
import { MPA, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';
import { RecordingProxy } from '../helpers/wire/recording-proxy.js';
import {
  alignFrames,
  type Decoded,
  decode,
  decodeSums,
  tsharkVersion,
} from '../helpers/wire/wireshark.js';

const SIZE = 4 << 20;
const SERVER_PORT = 7433;
const FIELDS = [
  'iwarp_mpa.ulpdulength',
  'iwarp_mpa.crc_flag',
  'iwarp_rdma.opcode',
  'iwarp_rdma.term_layer',
  'iwarp_rdma.term_etype_rdma',
  'iwarp_rdma.term_errcode_rdma',
  'iwarp_rdma.rdmardsz',
  'iwarp_rdma.atomic.opcode',
  'iwarp_rdma.atomic.original_remote_data_value',
] as const;

const version = tsharkVersion();
if (version === undefined)
  console.warn('skipped: tshark is not installed (apt-get install tshark)');

/** What a capture came to: frames, and the values of a field in their order. */
interface Verdict {
  readonly frames: readonly Decoded[];
  of(field: (typeof FIELDS)[number]): string[];
}

describe.skipIf(version === undefined)('Wireshark decodes', () => {
  let folder: string;
  let host: WireHost;
  let region: WireRegion;
  let proxy: RecordingProxy;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'farpage-wire-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeEach(() => {
    host = new WireHost();
    region = host.anonymous(SIZE);
  });
  afterEach(async () => {
    await proxy[Symbol.asyncDispose]();
    host[Symbol.dispose]();
  });

  /** Writes one conversation as a capture; returns its path. */
  function capture(recorded: readonly Recorded[], segmentBytes = 1448): string {
    const path = join(folder, 'conversation.pcap');
    writeCapture({ path, recorded, serverPort: SERVER_PORT, segmentBytes });
    return path;
  }

  /** Captures one conversation and holds it to what every conversation must be. */
  function judge(conversation: readonly Recorded[], segmentBytes?: number): Verdict {
    const recorded = alignFrames(conversation);
    const path = capture(recorded, segmentBytes);
    const frames = decode(path, FIELDS);
    const of = (field: (typeof FIELDS)[number]) =>
      frames.flatMap(({ fields }) => fields[field] ?? []);
    expect(frames.filter(({ complaints }) => complaints.length > 0)).toEqual([]);
    expect(frames.filter(({ info }) => /malformed|unreassembled/i.test(info))).toEqual([]);
    expect(frames.filter(({ info }) => info.includes('MPA Request'))).toHaveLength(1);
    expect(frames.filter(({ info }) => info.includes('MPA Reply'))).toHaveLength(1);
    // Behind the two MPA frames all that was sent are FPDUs that Wireshark found and decoded.
    expect(of('iwarp_mpa.ulpdulength').map(Number).sort()).toEqual(
      recorded
        .slice(2)
        .map(({ bytes }) => Buffer.from(bytes).readUInt16BE())
        .sort(),
    );
    expect(of('iwarp_rdma.opcode')).toHaveLength(recorded.length - 2);
    const crc = of('iwarp_mpa.crc_flag').includes('1');
    expect(decodeSums(path)).toEqual(Array(crc ? recorded.length - 2 : 0).fill('Good CRC32'));
    return { frames, of };
  }

  const count = (verdict: Verdict, op: number) =>
    verdict.of('iwarp_rdma.opcode').filter((value) => Number(value) === op).length;

  it.each([
    ['without CRC', false],
    ['with CRC', true],
  ])('our initiator and an appliance, %s', async (_, crc) => {
    const { domain, stag } = host.domain(region);
    proxy = await RecordingProxy.open(host.port);
    const ticket = host.ticket(domain);
    const address = { host: '127.0.0.1', port: proxy.port };
    await using queuePair = await QueuePair.connect({ ...address, ticket, crc });
    const bytes = Buffer.alloc(300_001, 'farpage');
    await queuePair.write({ stag, offset: 4093, bytes });
    expect(Buffer.from(await queuePair.read({ stag, offset: 4093, length: 300_001 }))).toEqual(
      bytes,
    );
    await queuePair.read({ stag, offset: 0, length: 2 ** 20 });
    for (const length of [0, 1, 2, 3, 4, 5, 63, 64, 2048, 2049]) {
      expect(await queuePair.read({ stag, offset: 1, length })).toHaveLength(length);
      await queuePair.write({ stag, offset: 2 ** 21, bytes: Buffer.alloc(length, 1) });
    }
    expect(await queuePair.fetchAdd({ stag, offset: 0, addend: 5n })).toBe(0n);
    expect(await queuePair.compareSwap({ stag, offset: 0, expected: 5n, desired: 9n })).toBe(5n);
    const refused = queuePair.read({ stag, offset: SIZE, length: 1 });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_BOUNDS' });

    const verdict = judge(proxy.conversations[0] ?? []);
    expect(count(verdict, OP.write)).toBeGreaterThanOrEqual(12);
    expect(count(verdict, OP.readRequest)).toBeGreaterThanOrEqual(13);
    expect(count(verdict, OP.readResponse)).toBeGreaterThan(count(verdict, OP.readRequest));
    expect(count(verdict, OP.atomicRequest)).toBe(2);
    expect(count(verdict, OP.atomicResponse)).toBe(2);
    expect(count(verdict, OP.send)).toBe(1);
    expect(count(verdict, OP.terminate)).toBe(1);
    expect(verdict.of('iwarp_mpa.crc_flag')).toEqual(crc ? ['1', '1'] : ['0', '0']);
    expect(verdict.of('iwarp_rdma.atomic.opcode').map(Number)).toEqual([0, 2]);
    const olds = verdict.of('iwarp_rdma.atomic.original_remote_data_value');
    expect(olds.map(Number)).toEqual([0, 5]);
    expect(verdict.of('iwarp_rdma.term_layer').map(Number)).toEqual([0]);
    expect(verdict.of('iwarp_rdma.term_etype_rdma').map(Number)).toEqual([1]);
    expect(verdict.of('iwarp_rdma.term_errcode_rdma').map(Number)).toEqual([1]);
    expect(verdict.of('iwarp_rdma.rdmardsz').map(Number)).toContain(300_001);
  });

  it.each([
    ['without CRC', 0],
    ['with CRC', MPA.crc],
  ])('the independent peer and an exported region, %s', async (_, flags) => {
    const { stag, port } = host.exported(region);
    proxy = await RecordingProxy.open(port);
    const request = { ...SIW_REQUEST, flags: MPA.enhanced | flags, ird: 16, ord: 16 };
    const { peer } = await WirePeer.connect(proxy.port, request);
    using foreign = peer;
    const payload = Buffer.alloc(100_003, 0x2a);
    foreign.write({ stag, to: 17, payload });
    foreign.post(untagged({ op: OP.send, queue: QUEUE.send, msn: 1, payload: Buffer.alloc(56) }));
    expect(await foreign.read({ stag, to: 17, size: payload.length })).toEqual(payload);
    expect(await foreign.read({ stag, to: 0, size: SIZE })).toHaveLength(SIZE);
    const atomic = { operation: AOP.fetchAdd, id: 5, stag, to: 2 ** 20, operand: 3n, mask: 0n };
    foreign.post(atomicRequest(foreign.msn++, atomic));
    expect((await foreign.next()).op).toBe(OP.atomicResponse);
    foreign.post(readRequest(foreign.msn, { sinkStag: 1, sinkTo: 0, size: 1, stag: 0, to: 0 }));
    expect((await foreign.terminate()).code).toBe(0);

    const verdict = judge(proxy.conversations[0] ?? [], 16_384);
    expect(count(verdict, OP.write)).toBe(Math.ceil(payload.length / 1446));
    expect(count(verdict, OP.readRequest)).toBe(3);
    expect(count(verdict, OP.readResponse)).toBeGreaterThan(64);
    expect(count(verdict, OP.send)).toBe(1);
    expect(count(verdict, OP.atomicRequest) + count(verdict, OP.atomicResponse)).toBe(2);
    expect(count(verdict, OP.terminate)).toBe(1);
    expect(verdict.of('iwarp_rdma.term_errcode_rdma').map(Number)).toEqual([0]);
  });

  it('and finds a wrong CRC, so that it would have found one of ours', async () => {
    const { domain } = host.domain(region);
    proxy = await RecordingProxy.open(host.port);
    const request = ticketRequest(host.ticket(domain));
    const { peer } = await WirePeer.connect(proxy.port, { ...request, flags: 0x50 });
    using wrong = peer;
    const bytes = frame(readRequest(1, { sinkStag: 1, sinkTo: 0, size: 0, stag: 1, to: 0 }), true);
    bytes.writeUInt8(bytes.readUInt8(51) ^ 1, 51);
    wrong.send(bytes);
    expect((await wrong.terminate()).layer).toBe(2);
    const sums = decodeSums(capture(alignFrames(proxy.conversations[0] ?? [])));
    expect(sums).toEqual([expect.stringMatching(/^Bad CRC32/), 'Good CRC32']);
  });
});
