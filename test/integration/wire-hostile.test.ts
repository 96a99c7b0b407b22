/** Peers without a right, without manners or without number: the appliance goes on serving. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.js';
import { frame, OP, readRequest, tagged } from '../helpers/wire/fpdu.js';
import { ticketRequest, WireHost, type WireRegion } from '../helpers/wire/host.js';
import { type MpaReply, mpaRequest, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';
import { terminateCode } from '../helpers/wire/terminate.js';

const SIZE = 1 << 20;
const MIB = 2 ** 20;
/** kTicketsMax of the NIC. */
const TICKETS_MAX = 65_536;
let host: WireHost;
let region: WireRegion;

beforeEach(() => {
  host = new WireHost({ connectionsMax: 1500, threads: 2 });
  region = host.anonymous(SIZE);
});
afterEach(() => host[Symbol.dispose]());

/** A new connection is served, and the ones that have gone are not counted any more. */
async function lives(connections: number): Promise<void> {
  const { domain, stag } = host.domain(region);
  const { peer } = await WirePeer.connect(host.port, ticketRequest(host.ticket(domain)));
  using one = peer;
  expect(await one.read({ stag, to: 0, size: 100 })).toHaveLength(100);
  await expect.poll(() => host.nic.stats().connections).toBe(connections + 1);
}

describe('what is no MPA request', () => {
  it.each([
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a TLS greeting', Buffer.from('16030100a5010000a1030352362c10', 'hex')],
    ['zeros', Buffer.alloc(100_000)],
    ['noise', randomBytes(100_000)],
    ['one byte', Buffer.from('m')],
    ['an FPDU', frame(tagged({ op: OP.write, stag: 1, to: 0 }), false)],
    ['a request but for its last letter', Buffer.from('MPA ID Req Framf\x10\x02\0\0', 'latin1')],
  ])('%s: ends the connection', async (_, bytes) => {
    using peer = await WirePeer.open(host.port);
    peer.send(bytes);
    await peer.end();
    await lives(0);
  });

  it('noise behind a good request: ends it as well', async () => {
    const { domain } = host.domain(region);
    for (let round = 0; round < 100; round++) {
      using peer = await WirePeer.open(host.port);
      const request = mpaRequest(ticketRequest(host.ticket(domain)));
      peer.send(Buffer.concat([request, randomBytes(70_000)]));
      peer.socket.end();
      await once(peer.socket, 'close');
    }
    await lives(0);
  });
});

describe('tickets', () => {
  const statusOf = (reply: MpaReply) => {
    expect(reply.privateData.toString('latin1', 0, 4)).toBe('FPG1');
    return native().errorCodes[reply.privateData.readUInt8(6)];
  };

  /** Asks with private data and expects a reject; returns the code that comes with it. */
  async function rejected(privateData: Uint8Array): Promise<string | undefined> {
    const { peer, reply } = await WirePeer.connect(host.port, { ...SIW_REQUEST, privateData });
    using one = peer;
    expect(reply.rejected).toBe(true);
    await one.end();
    return statusOf(reply);
  }
  const show = (ticket: Uint8Array) => ticketRequest(ticket).privateData as Buffer;

  it('are asked of everybody', async () => {
    expect(await rejected(Buffer.alloc(0))).toBe('ERR_TICKET');
    expect(await rejected(Buffer.alloc(24))).toBe('ERR_TICKET');
    expect(await rejected(Buffer.alloc(508, 'FPG1'))).toBe('ERR_TICKET');
    expect(await rejected(show(randomBytes(16)))).toBe('ERR_TICKET');
    const { domain } = host.domain(region);
    const ticket = host.ticket(domain);
    expect(await rejected(show(ticket).subarray(0, 23))).toBe('ERR_TICKET');
    const version2 = show(ticket);
    version2.writeUInt8(2, 4);
    expect(await rejected(version2)).toBe('ERR_TICKET');
    await lives(0);
  });

  it('expire when nobody used them', async () => {
    const { domain } = host.domain(region);
    const [short, long] = [host.ticket(domain, 50), host.ticket(domain, 20_000)];
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await rejected(show(short))).toBe('ERR_TICKET');
    const { peer, reply } = await WirePeer.connect(host.port, ticketRequest(long));
    using one = peer;
    expect(reply.rejected).toBe(false);
    expect(one.ended).toBe(false);
  });

  it('end with their session, and its connections and STags with them', async () => {
    const { domain, stag } = host.domain(region);
    const { domain: other, stag: alive } = host.domain(region);
    const ticket = host.ticket(domain);
    const { peer } = await WirePeer.connect(host.port, ticketRequest(ticket));
    using one = peer;
    expect(await one.read({ stag, to: 0, size: 5 })).toHaveLength(5);
    domain.close();
    await one.end();
    expect(await rejected(show(ticket))).toBe('ERR_TICKET');
    const request = ticketRequest(host.ticket(other));
    const { peer: second } = await WirePeer.connect(host.port, request);
    using two = second;
    expect(await two.read({ stag: alive, to: 0, size: 5 })).toHaveLength(5);
    two.post(readRequest(two.msn, { sinkStag: 1, sinkTo: 0, size: 5, stag, to: 0 }));
    expect(terminateCode(await two.terminate())).toBe('0/1/00');
  });

  it('that were used stay when too many others are made, of which the oldest go', async () => {
    const { domain } = host.domain(region);
    const [used, oldest] = [host.ticket(domain), host.ticket(domain, 20_000)];
    const { peer: first } = await WirePeer.connect(host.port, ticketRequest(used));
    first.socket.destroy();
    for (let n = 0; n < TICKETS_MAX; n++) host.ticket(domain);
    expect(await rejected(show(oldest))).toBe('ERR_TICKET');
    const { peer, reply } = await WirePeer.connect(host.port, ticketRequest(used));
    using again = peer;
    expect(reply.rejected).toBe(false);
    expect(again.ended).toBe(false);
  });

  it('let in as many as the session may have', async () => {
    const { domain } = host.domain(region, { connectionsMax: 2 });
    const ticket = host.ticket(domain);
    const { peer: first } = await WirePeer.connect(host.port, ticketRequest(ticket));
    const { peer: second } = await WirePeer.connect(host.port, ticketRequest(ticket));
    expect(await rejected(show(ticket))).toBe('ERR_QUOTA');
    first.socket.destroy();
    await expect.poll(() => domain.connections).toBe(1);
    const { peer, reply } = await WirePeer.connect(host.port, ticketRequest(ticket));
    expect(reply.rejected).toBe(false);
    for (const one of [second, peer]) one.socket.destroy();
  });
});

describe('STags', () => {
  it('of one session mean nothing in another', async () => {
    const { stag } = host.domain(region);
    const { domain } = host.domain(region);
    const ticket = host.ticket(domain);
    for (const op of ['read', 'write'] as const) {
      const { peer } = await WirePeer.connect(host.port, ticketRequest(ticket));
      using one = peer;
      if (op === 'write') one.write({ stag, to: 0, payload: Buffer.alloc(9) });
      else one.post(readRequest(1, { sinkStag: 1, sinkTo: 0, size: 9, stag, to: 0 }));
      expect(terminateCode(await one.terminate())).toBe(op === 'read' ? '0/1/00' : '1/1/00');
    }
  });

  it('that were taken back are refused, on the connection that used them', async () => {
    const { domain } = host.domain(region);
    const place = { address: region.address, lengthBytes: SIZE, access: 'read-write' } as const;
    const memoryRegion = domain.register(place);
    const { stag } = memoryRegion;
    const { peer } = await WirePeer.connect(host.port, ticketRequest(host.ticket(domain)));
    using one = peer;
    expect(await one.read({ stag, to: 0, size: 9 })).toHaveLength(9);
    memoryRegion.deregister();
    one.post(readRequest(one.msn, { sinkStag: 1, sinkTo: 0, size: 9, stag, to: 0 }));
    expect(terminateCode(await one.terminate())).toBe('0/1/00');
  });
});

describe('a peer', () => {
  it('that asks for 4 GiB - 1 and takes little of it holds no memory', async () => {
    const large = host.anonymous(8 * 1024 * MIB);
    const { domain, stag } = host.domain(large);
    const request = ticketRequest(host.ticket(domain), 0, 16);
    const { peer } = await WirePeer.connect(host.port, request);
    using greedy = peer;
    greedy.socket.pause();
    const before = process.memoryUsage.rss();
    const read = { sinkStag: 1, sinkTo: 0, size: 2 ** 32 - 1, stag, to: 1 };
    for (let n = 1; n <= 16; n++) greedy.post(readRequest(n, read));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await lives(1);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MIB);
    greedy.socket.resume();
    const { op, to, last, payload } = await greedy.next();
    expect([op, to, last]).toEqual([OP.readResponse, 0n, false]);
    expect(payload.every((byte) => byte === 0)).toBe(true);
    greedy.socket.resetAndDestroy();
    await lives(0);
  });

  it('that goes away in the middle of a frame, a WRITE or an answer is forgotten', async () => {
    const { domain, stag } = host.domain(region);
    const ticket = host.ticket(domain);
    const payload = Buffer.alloc(50_000);
    const write = frame(tagged({ op: OP.write, stag, to: 0, payload }), false);
    const read = frame(readRequest(1, { sinkStag: 1, sinkTo: 0, size: SIZE, stag, to: 0 }), false);
    const pieces = [0, 1, 15, 16, 30_000, write.length].map((bytes) => write.subarray(0, bytes));
    for (const bytes of [...pieces, read, read.subarray(0, 51)]) {
      for (const end of ['end', 'resetAndDestroy'] as const) {
        const { peer } = await WirePeer.connect(host.port, ticketRequest(ticket));
        using one = peer;
        one.send(bytes);
        one.socket[end]();
        await expect.poll(() => domain.connections).toBe(0);
      }
    }
    await lives(0);
  });

  it('that closes its side right behind a READ gets the answer and the end', async () => {
    const { domain, stag } = host.domain(region);
    const { peer } = await WirePeer.connect(host.port, ticketRequest(host.ticket(domain)));
    using one = peer;
    const sink = { sinkStag: 1, sinkTo: 0n, size: 1000 };
    one.post(readRequest(1, { ...sink, stag, to: 0 }));
    one.socket.end();
    expect(await one.response(sink)).toHaveLength(1000);
    await one.end();
  });

  it('comes 2,000 times: as many are served as may be, the others are turned away', async () => {
    const { domain, stag } = host.domain(region);
    const request = ticketRequest(host.ticket(domain));
    const bytes = mpaRequest(request);
    const peers = await Promise.all(
      Array.from({ length: 2000 }, async () => {
        const peer = await WirePeer.open(host.port);
        peer.send(bytes);
        const accepted = await peer.reply().then(
          () => true,
          () => false,
        );
        return { peer, accepted };
      }),
    );
    const accepted = peers.filter((one) => one.accepted).map(({ peer }) => peer);
    expect(accepted).toHaveLength(1500);
    expect(host.nic.stats()).toMatchObject({ connections: 1500, refused: 500 });
    const reads = accepted.map((peer) => peer.read({ stag, to: 0, size: 64 }));
    expect(await Promise.all(reads)).toHaveLength(1500);
    for (const { peer } of peers) peer.socket.destroy();
    await expect.poll(() => host.nic.stats().connections, { timeout: 5000 }).toBe(0);
    await lives(0);
  });
});
