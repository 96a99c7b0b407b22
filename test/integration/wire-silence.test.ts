/**
 * Peers that stop in the middle of something. The bounds that end them are not options, so these
 * tests wait for them, all at once: kHandshakeNs, kDrainNs and kUnsettledNs of the event loop, and
 * those of the control plane's doors.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Appliance } from '../../src/appliance/appliance.js';
import { frame, OP, readRequest, tagged } from '../helpers/wire/fpdu.js';
import { WireHost } from '../helpers/wire/host.js';
import { mpaRequest, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

const SIZE = 64 << 20;
const HANDSHAKE_MS = 10_000;
const UNSETTLED_MS = 30_000;
const DRAIN_MS = 1_000;
const CONTROL_HEADERS_MS = 10_000;
const CONTROL_REQUEST_MS = 15_000;
/** A round of the sweep, and what a busy machine adds. */
const LATE_MS = 5_000;

let host: WireHost;
let port: number;
let stag: number;
let folder: string;
let appliance: Appliance;

beforeAll(async () => {
  host = new WireHost();
  ({ port, stag } = host.exported(host.anonymous(SIZE)));
  folder = mkdtempSync(join(tmpdir(), 'fp-'));
  appliance = await Appliance.open({
    socket: join(folder, 's'),
    stateDirectory: join(folder, 'state'),
    memory: '64MiB',
    listen: '127.0.0.1:0',
  });
});
afterAll(async () => {
  host[Symbol.dispose]();
  await appliance.close();
  rmSync(folder, { recursive: true });
});

/** Waits for the end of a connection, and that it comes within its bound and not before it. */
async function endsAfter(peer: WirePeer, boundMs: number): Promise<void> {
  using silent = peer;
  const begin = performance.now();
  while (!silent.ended) {
    expect(performance.now() - begin).toBeLessThan(boundMs + LATE_MS);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(performance.now() - begin).toBeGreaterThan(boundMs * 0.9);
}

async function connected(): Promise<WirePeer> {
  return (await WirePeer.connect(port, { ...SIW_REQUEST, ird: 16, ord: 16 })).peer;
}

it.concurrent.each([
  ['nothing', 0],
  ['half of its request', 11],
  ['a request but for its last byte', 23],
])('a peer that says %s is ended after 10 s', async (_, bytes) => {
  const peer = await WirePeer.open(port);
  peer.send(mpaRequest(SIW_REQUEST).subarray(0, bytes));
  await endsAfter(peer, HANDSHAKE_MS);
});

it.concurrent.each([
  ['the length', 2],
  ['half of the header', 9],
  ['half of the payload', 5_000],
  ['all but the CRC', 10_016],
])(
  'a peer that stops behind %s of a WRITE is ended after 30 s',
  { timeout: 60_000 },
  async (_, bytes) => {
    const peer = await connected();
    const write = tagged({ op: OP.write, stag, to: 0, payload: Buffer.alloc(10_000) });
    peer.send(frame(write, false).subarray(0, bytes));
    await endsAfter(peer, UNSETTLED_MS);
  },
);

it.concurrent('a peer that does not take its answers is ended after 30 s', {
  timeout: 60_000,
}, async () => {
  const peer = await connected();
  peer.socket.pause();
  for (let n = 1; n <= 8; n++) {
    peer.post(readRequest(n, { sinkStag: 1, sinkTo: 0, size: SIZE, stag, to: 0 }));
  }
  const before = host.nic.stats().connections;
  await new Promise((resolve) => setTimeout(resolve, UNSETTLED_MS + LATE_MS));
  expect(host.nic.stats().connections).toBeLessThan(before);
  peer.socket.destroy();
});

it.concurrent('a peer that was told a Terminate and stays is ended after 1 s', async () => {
  const peer = await connected();
  peer.post(readRequest(1, { sinkStag: 1, sinkTo: 0, size: 1, stag: 0, to: 0 }));
  await peer.terminate();
  const begin = performance.now();
  const gone = new Promise((resolve) => peer.socket.on('close', resolve));
  const writing = setInterval(() => peer.send(Buffer.alloc(1)), 50);
  await gone;
  clearInterval(writing);
  expect(performance.now() - begin).toBeGreaterThan(DRAIN_MS * 0.5);
  expect(performance.now() - begin).toBeLessThan(DRAIN_MS + LATE_MS);
});

it.concurrent('the others are served all the while', { timeout: 60_000 }, async () => {
  using busy = await connected();
  const until = performance.now() + UNSETTLED_MS;
  for (let n = 0; performance.now() < until; n++) {
    const begin = performance.now();
    expect(await busy.read({ stag, to: n * 4096, size: 4096 })).toHaveLength(4096);
    expect(performance.now() - begin).toBeLessThan(1_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

const PARTS = [
  ['', CONTROL_HEADERS_MS],
  ['GET /healthz HTTP/1.1\r\nhost: localhost\r\nacc', CONTROL_HEADERS_MS],
  [
    'POST /v1/regions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{',
    CONTROL_REQUEST_MS,
  ],
] as const;

it.concurrent('a control connection that stops gives its place back within its bound', {
  timeout: 60_000,
}, async () => {
  const { socket: path, tcp = { host: '', port: 0 } } = appliance.doors;
  const stop = async (door: { path: string } | typeof tcp, part: string, boundMs: number) => {
    const begin = performance.now();
    const socket = connect(door);
    socket.write(part);
    await new Promise((resolve) => socket.once('close', resolve).resume());
    expect(performance.now() - begin).toBeGreaterThan(boundMs * 0.9);
    expect(performance.now() - begin).toBeLessThan(boundMs + LATE_MS);
  };
  const doors = [{ path }, tcp];
  await Promise.all(
    doors.flatMap((door) => PARTS.map(([part, boundMs]) => stop(door, part, boundMs))),
  );
});
