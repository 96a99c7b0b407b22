/** Peers that send without end: they get their share of the event loop and no more. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Flood } from '../helpers/wire/flood.js';
import { frame, OP, QUEUE, readRequest, tagged, untagged } from '../helpers/wire/fpdu.js';
import { WireHost } from '../helpers/wire/host.js';
import { mpaRequest, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';

/** A read of another connection beside a flood; without one it takes a fraction of this. */
const READ_MS_MAX = 1_000;
/** kDrainNs, a round of the sweep, and what a busy machine adds. */
const DRAIN_MS_MAX = 5_000;

let host: WireHost;
let port: number;
let stag: number;
let other: WirePeer;

beforeEach(async () => {
  host = new WireHost();
  ({ port, stag } = host.exported(host.anonymous(1 << 20)));
  ({ peer: other } = await WirePeer.connect(port));
});
afterEach(() => {
  other[Symbol.dispose]();
  host[Symbol.dispose]();
});

async function slowestRead(): Promise<number> {
  let slowest = 0;
  for (let n = 0; n < 20; n++) {
    const begin = performance.now();
    expect(await other.read({ stag, to: n * 4096, size: 4096 })).toHaveLength(4096);
    slowest = Math.max(slowest, performance.now() - begin);
  }
  return slowest;
}

const request = mpaRequest(SIW_REQUEST);
const send = (bytes: number) =>
  untagged({ op: OP.send, queue: QUEUE.send, msn: 1, last: false, payload: Buffer.alloc(bytes) });
const refused = readRequest(1, { sinkStag: 1, sinkTo: 0, size: 1, stag: 0, to: 0 });

it.each([
  ['Sends of nothing', send(0)],
  ['Sends of 8,000 bytes', send(8000)],
  ['Writes of nothing', tagged({ op: OP.write, stag: 1, to: 0 })],
])('%s without end leave the others their turns', async (_, ulpdu) => {
  await using _flood = await Flood.start({ port, prefix: request, unit: frame(ulpdu, false) });
  expect(await slowestRead()).toBeLessThan(READ_MS_MAX);
  // It has broken no rule, so it still has its connection.
  expect(host.nic.stats().connections).toBe(2);
});

it('what follows a Terminate is dropped, and the connection with it', async () => {
  const prefix = Buffer.concat([request, frame(refused, false)]);
  await using flood = await Flood.start({ port, prefix, unit: Buffer.alloc(4096, 0xcc) });
  expect(await slowestRead()).toBeLessThan(READ_MS_MAX);
  await expect.poll(() => host.nic.stats().connections, { timeout: DRAIN_MS_MAX }).toBe(1);
  expect(await flood.ended).toBeGreaterThan(0);
});
