/** What unmodified RDMA programs, over librpma and over rdma-core, do with `farpage export`. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { ServeProcess } from '../helpers/cli.js';
import {
  BOOT_MS_MAX,
  GuestMachine,
  type GuestRun,
  guestPattern,
  HOST_OF_GUEST,
  hashOf,
  whyNoGuest,
} from '../helpers/guest.js';
import { scratch } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const RUN_MS_MAX = 90_000;
/** Statuses of completions: what a request is flushed with when its connection ends (ibv_wc(3)). */
const FLUSHED = 5;
const REFUSED_LATE = /^refused (\d+|unanswered) RDMA_CM_EVENT_DISCONNECTED$/;
const why = whyNoGuest();
if (why !== undefined) console.warn(`skipped: ${why} (clients over librpma and rdma-core)`);

describe.skipIf(why !== undefined)('a foreign client', { timeout: RUN_MS_MAX }, () => {
  let guest: GuestMachine;
  beforeAll(async () => {
    guest = await GuestMachine.boot();
  }, BOOT_MS_MAX);
  afterAll(() => guest?.[Symbol.dispose]());

  async function exported(serve: ServeProcess, region: string, access = 'read-write') {
    const words = ['export', region, '--access', access];
    const { port } = await serve.json<{ port: number }>(words);
    const client = (name: string) => async (steps: string, started?: (line: string) => void) =>
      await guest.run(`${name}_client ${HOST_OF_GUEST} ${port} ${steps}`, started);
    return { port, rpma: client('rpma'), verbs: client('verbs') };
  }

  async function served(model: Buffer, words: readonly string[] = []) {
    const folder = scratch();
    const path = join(folder, 'data.bin');
    writeFileSync(path, model);
    return { path, serve: await ServeProcess.start(folder, [path, ...words]) };
  }

  /** What a step prints that has seen `bytes` at `offset`. */
  const seen = (kind: string, offset: number, bytes: Buffer) =>
    `${kind} ${offset} ${bytes.length} ${hashOf(bytes)}`;
  const fine = (...lines: string[]): GuestRun => ({ status: 0, lines });

  it('of librpma reads absent pages, writes, flushes, and its bytes are synced', async () => {
    const model = randomBytes(3_000_000);
    const { path, serve } = await served(model);
    const { rpma } = await exported(serve, 'data.bin');
    const absent = await serve.json<RegionStat>(['stat', 'data.bin']);
    expect(absent.pages.present).toBe(0);

    const payload = guestPattern(7, 70_001);
    const word = Buffer.alloc(8);
    word.writeBigUInt64LE(0x1234_5678_9abc_def0n);
    const steps = 'read:2000001:999999 write:12345:70001:7 atomic:2999992:0x123456789abcdef0';
    expect(await rpma(steps)).toEqual(
      fine(
        'region 3000000 flush 16',
        seen('read', 2_000_001, model.subarray(2_000_001)),
        seen('write', 12_345, payload),
        seen('atomic', 2_999_992, word),
        'ended Connection closed',
      ),
    );
    expect(readFileSync(path).equals(model)).toBe(true);
    payload.copy(model, 12_345);
    word.copy(model, 2_999_992);
    await serve.json(['sync', 'data.bin']);
    expect(readFileSync(path).equals(model)).toBe(true);
  });

  it('of rdma-core has 64 READs of absent pages under way, on two connections', async () => {
    const model = randomBytes(4 * MIB);
    const { serve } = await served(model);
    const { verbs, port } = await exported(serve, 'data.bin');
    const other = `verbs_client ${HOST_OF_GUEST} ${port} read:2097152:2097152:4096:64 >/other`;
    const run = await verbs(`read:0:2097152:4096:64 & ${other}; wait; cat /other`);
    const half = (at: number) => seen('read', at, model.subarray(at, at + 2 * MIB));
    const greeting = 'region 4194304 usage 31';
    expect(run).toEqual(fine(greeting, half(0), 'ended', greeting, half(2 * MIB), 'ended'));
    // A READ right behind a WRITE sees it, and requests of no bytes need no key (RFC 5040).
    const payload = guestPattern(5, 200_000);
    expect(await verbs('write:100:200000:5 empty')).toEqual(
      fine(greeting, seen('write', 100, payload), 'empty', 'ended'),
    );
  });

  it('reads a file larger than the memory, and memory that nobody has filled', async () => {
    const model = randomBytes(16 * MIB);
    const { serve } = await served(model, ['--memory', '4MiB']);
    const { rpma } = await exported(serve, 'data.bin', 'read-only');
    const parts = Array.from({ length: 4 }, (_, part) => part * 4 * MIB);
    const run = await rpma(parts.map((at) => `read:${at}:${4 * MIB}`).join(' '));
    const read = parts.map((at) => seen('read', at, model.subarray(at, at + 4 * MIB)));
    // A port that is to be read offers no flush.
    expect(run).toEqual(fine('region 16777216 flush 0', ...read, 'ended Connection closed'));

    await serve.json(['create', 'ones', '--size', '1TiB', '--fill', 'one']);
    const ones = await exported(serve, 'ones');
    const last = 2 ** 40 - 5000;
    expect(await ones.verbs(`read:${last}:5000`)).toEqual(
      fine('region 1099511627776 usage 31', seen('read', last, Buffer.alloc(5000, 255)), 'ended'),
    );
  });

  it('that is refused loses its connection, and nobody else anything', async () => {
    const model = randomBytes(MIB);
    const { path, serve } = await served(model);
    const readWrite = await exported(serve, 'data.bin');
    const readOnly = await exported(serve, 'data.bin', 'read-only');
    for (const steps of ['wrong-key', 'beyond']) {
      const { status, lines } = await readWrite.verbs(steps);
      const refused = `refused ${FLUSHED} RDMA_CM_EVENT_DISCONNECTED`;
      expect({ steps, status, lines }).toEqual({
        steps,
        status: 3,
        lines: ['region 1048576 usage 31', refused],
      });
    }
    // A WRITE that is refused is told by the READ behind it, if that was posted in time.
    const writing = await readOnly.verbs('write:0:4096:9');
    expect(writing.status).toBe(3);
    expect(writing.lines.at(-1)).toMatch(REFUSED_LATE);
    expect((await readOnly.rpma(`read:0:${MIB}`)).lines).toContain(seen('read', 0, model));
    const { pagesWritten } = await serve.json<{ pagesWritten: number }>(['sync', 'data.bin']);
    expect([pagesWritten, readFileSync(path).equals(model)]).toEqual([0, true]);
  });

  it('learns that the appliance was killed, and uses the next one', async () => {
    const model = randomBytes(MIB);
    const { path, serve } = await served(model);
    const first = await exported(serve, 'data.bin');
    let killed: Promise<unknown> | undefined;
    const waiting = await first.verbs('wait', (line) => {
      if (line === 'waiting') killed = serve.end('SIGKILL');
    });
    await killed;
    expect(waiting.status).toBe(3);
    expect(waiting.lines.at(-1)).toMatch(REFUSED_LATE);
    expect((await first.verbs('read:0:1')).lines.join()).toMatch(/^failed connect: /);
    const next = await ServeProcess.start(serve.folder, [path]);
    const second = await exported(next, 'data.bin');
    expect((await second.rpma(`read:0:${MIB}`)).lines).toContain(seen('read', 0, model));
  });
});
