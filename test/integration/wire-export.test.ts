/** What a program over librpma or rdma-core does with a port of `farpage export`. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import { native } from '../../src/native/load.js';
import { frame, OP, type Read, readRequest, tagged } from '../helpers/wire/fpdu.js';
import { ticketRequest, WireHost } from '../helpers/wire/host.js';
import { parseRpma, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

const PAGE = 4096;
const PAGES = 2048;
const DEPTH = 64;
const READ_USAGES = 1 | 2;
const ALL_USAGES = 31;
const REQUEST = { ...SIW_REQUEST, ird: DEPTH, ord: DEPTH };

let folder: string;
let path: string;
let model: Buffer;
let host: WireHost;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'farpage-wire-'));
  path = join(folder, 'data');
  model = randomBytes(PAGES * PAGE);
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  writeFileSync(path, model);
  forgetCached(path);
  host = new WireHost();
});
afterEach(() => host[Symbol.dispose]());

/** Takes a file out of the page cache, so that its pages come from the device. */
function forgetCached(file: string): void {
  execFileSync('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], {
    stdio: 'ignore',
  });
}

describe('the description in the reply', () => {
  it("is librpma's, and names what READ and WRITE reach", async () => {
    const region = host.file(path);
    const { port } = host.exported(region);
    const { peer, reply } = await WirePeer.connect(port, REQUEST);
    using rpma = peer;
    // rdma_cm hands the private data on with a length of one byte.
    expect(reply.privateData).toHaveLength(25);
    const { address, size, rkey, usage } = parseRpma(reply.privateData);
    expect([Number(size), usage]).toEqual([model.length, ALL_USAGES]);
    const read = await rpma.read({ stag: rkey, to: address + 12_345n, size: 70_000 });
    expect(read).toEqual(model.subarray(12_345, 82_345));
    const payload = randomBytes(10_000);
    rpma.write({ stag: rkey, to: address + 5n, payload });
    // librpma's flush: a READ behind the WRITEs tells that they are there.
    expect(await rpma.read({ stag: rkey, to: address + 5n, size: 10_000 })).toEqual(payload);
    const written = { offset: 0, lengthBytes: model.length, durable: true };
    await native().regionWriteBack(region.handle, written);
    payload.copy(model, 5);
    expect(readFileSync(path).equals(model)).toBe(true);
  });

  it('says of a read-only port that it is to be read', async () => {
    const { port } = host.exported(host.file(path, 'read-only'), { access: 'read-only' });
    const { peer, reply } = await WirePeer.connect(port, REQUEST);
    using rpma = peer;
    const { rkey, usage } = parseRpma(reply.privateData);
    expect(usage).toBe(READ_USAGES);
    expect(await rpma.read({ stag: rkey, to: 4, size: 9 })).toEqual(model.subarray(4, 13));
  });
});

describe('our own initiator', () => {
  it('uses an export without a ticket, as any other program does', async () => {
    const { port, stag } = host.exported(host.file(path));
    const address = { host: '127.0.0.1', port };
    await using queuePair = await QueuePair.connect({ ...address, depth: 16 });
    expect(queuePair.depth).toBe(16);
    const read = await queuePair.read({ stag, offset: 777, length: 100_000 });
    expect(Buffer.from(read).equals(model.subarray(777, 100_777))).toBe(true);
    await queuePair.write({ stag, offset: 5, bytes: Buffer.from('export') });
    expect(await queuePair.fetchAdd({ stag, offset: 4096, addend: 1n })).toBe(
      model.readBigUInt64LE(4096),
    );
    // No reason of ours comes before the Terminate here; the RFC's code must do.
    const refused = queuePair.read({ stag, offset: model.length, length: 1 });
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_BOUNDS',
      rdmap: { layer: 0, type: 1, code: 1 },
    });
  });
});

/** READs of pages in this order, with sinks that tell them apart. */
function readsOf(pages: readonly number[], stag: number): Read[] {
  return pages.map((page, index) => ({
    sinkStag: 0x1000 + index,
    sinkTo: BigInt(page) * 2n ** 20n,
    size: PAGE,
    stag,
    to: page * PAGE,
  }));
}

describe('answers', () => {
  /** Every third page is there already; the others are cold and far apart. */
  const pages = Array.from({ length: DEPTH }, (_, n) => (n * 797 + 13) % PAGES);
  const warm = pages.filter((_, n) => n % 3 === 1);

  it('come in the order of the requests, also when an earlier page is cold', async () => {
    const region = host.file(path);
    const { port, stag } = host.exported(region);
    const { peer } = await WirePeer.connect(port, REQUEST);
    using standard = peer;
    for (const page of warm) await standard.read({ stag, to: page * PAGE, size: 1 });
    const present = native().regionStats(region.handle).presentPages;
    expect(present).toBe(warm.length);
    const reads = readsOf(pages, stag);
    const frames = reads.map((read) => frame(readRequest(standard.msn++, read), false));
    standard.send(Buffer.concat(frames));
    for (const [index, { sinkStag, sinkTo, size }] of reads.entries()) {
      const got = await standard.response({ sinkStag, sinkTo: BigInt(sinkTo), size });
      const at = (pages[index] ?? 0) * PAGE;
      expect(got.equals(model.subarray(at, at + PAGE))).toBe(true);
    }
  });

  it('come each once and whole to an initiator that takes them in any order', async () => {
    const { domain, stag } = host.domain(host.file(path));
    const request = ticketRequest(host.ticket(domain), 0x01);
    const { peer, reply } = await WirePeer.connect(host.port, request);
    using farpage = peer;
    expect(reply.privateData.toString('hex', 0, 6)).toBe('465047310101');
    for (const page of warm) await farpage.read({ stag, to: page * PAGE, size: 1 });
    const reads = readsOf(pages, stag);
    const frames = reads.map((read) => frame(readRequest(farpage.msn++, read), false));
    farpage.send(Buffer.concat(frames));
    const left = new Map(reads.map(({ sinkStag, size }) => [sinkStag, size]));
    while (left.size > 0) {
      const { op, stag: sink, to, payload, last } = await farpage.next();
      expect(op).toBe(OP.readResponse);
      const read = reads[sink - 0x1000] as Read;
      const within = Number(to - BigInt(read.sinkTo));
      const at = Number(read.to) + within;
      expect(payload.equals(model.subarray(at, at + payload.length))).toBe(true);
      const rest = (left.get(sink) as number) - payload.length;
      expect(last).toBe(rest === 0);
      if (rest === 0) left.delete(sink);
      else left.set(sink, rest);
    }
  });

  it('show every WRITE before them, also one to a cold page', async () => {
    const { port, stag } = host.exported(host.file(path));
    const { peer } = await WirePeer.connect(port, REQUEST);
    using standard = peer;
    for (const page of pages) {
      const sink = { sinkStag: page + 1, sinkTo: 0n, size: 16 };
      const to = page * PAGE + 100;
      const payload = Buffer.alloc(8, page);
      const write = frame(tagged({ op: OP.write, stag, to, payload }), false);
      const read = frame(readRequest(standard.msn++, { ...sink, stag, to: to - 4 }), false);
      standard.send(Buffer.concat([write, read]));
      const around = (offset: number) => model.subarray(to + offset, to + offset + 4);
      const expected = Buffer.concat([around(-4), payload, around(8)]);
      expect(await standard.response(sink)).toEqual(expected);
    }
  });
});
