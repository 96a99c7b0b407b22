/** WRITEs to pages that an atomic sync has frozen and not taken yet, by the C++ initiator. */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect } from '../../client/client.js';
import { ClientSession } from '../../client/client-session.js';
import type { ExternalRegion } from '../../client/external-region.js';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { FarpageError } from '../../errors.js';
import { Serving } from '../serving.js';
import { makeFile } from './files.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { figure, type Words } from './tool.js';
import { rounds, type Work } from './work.js';

const MIB = 1024 * 1024;
const PAGE = 4096;
/** So much that a sync of it takes longer than the WRITEs. */
const DIRTY_BYTES = 256 * MIB;
const WRITES = 4000;
const TIMEOUT_MS = 120_000;
/** Writer and NIC take turns on one core, so that the sync has the other: no more threads are busy
 * than there are cores. */
const PLACEMENT = 'writer and NIC on one core, sleeping; the sync on the other';

async function dirtyAll(region: ExternalRegion, bytes: number): Promise<void> {
  const piece = Buffer.alloc(MIB, 1);
  for (let offset = 0; offset < bytes; offset += MIB) await region.write(offset, piece);
  await region.fence();
}

/** Puts the threads that take part on their cores; the sync's exists from the first sync on. */
async function place(stage: Stage, pid: number): Promise<void> {
  await stage.run('pin', { pid, cores: 1 });
  await stage.run('pin', { pid, cores: 0, threads: 'nic-' });
}

/** How many pages writers have copied so far because a sync had frozen them. */
async function frozenCopies(socketPath: string): Promise<number> {
  const request = get({ socketPath, path: '/metrics' });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const [, count] = /^farpage_frozen_copies_total (\d+)$/m.exec(await text(response)) ?? [];
  if (count === undefined) throw new FarpageError('ERR_INTERNAL', 'no count of frozen copies');
  return Number(count);
}

interface Subject {
  readonly stage: Stage;
  readonly socket: string;
  readonly region: ExternalRegion;
  readonly reach: Words;
  readonly bytes: number;
}

interface Told {
  readonly farpage: number;
  readonly raw: number;
  /** The part of the WRITEs that met a frozen page. */
  readonly met: number;
  /** The sync went on until all WRITEs were done. */
  readonly covered: boolean;
}

async function round(
  { stage, socket, region, reach, bytes }: Subject,
  number: number,
): Promise<Told> {
  const words = { ...reach, op: 'write', mode: 'sleeping', core: 0, 'region-size': bytes };
  const write = async (seed: number) => {
    const [line] = await stage.run('initiator', { ...words, visit: WRITES, seed });
    return figure(line, 'p99Us');
  };
  await dirtyAll(region, bytes);
  const raw = await write(2 * number + 1);
  const before = await frozenCopies(socket);
  let over = false;
  const sync = region.sync({ timeoutMs: TIMEOUT_MS }).finally(() => {
    over = true;
  });
  const farpage = await write(2 * number + 2);
  const covered = !over;
  await sync;
  const met = ((await frozenCopies(socket)) - before) / WRITES;
  return { farpage, raw, met, covered };
}

async function frozen(stage: Stage): Promise<Row[]> {
  const { fileBytes, signal } = stage.options;
  const bytes = Math.min(DIRTY_BYTES, fileBytes);
  const file = join(stage.folder, 'frozen');
  const socket = join(stage.folder, 'second');
  const doors = ['--socket', socket, '--state', join(stage.folder, 'atomic')];
  try {
    await makeFile(file, bytes, signal);
    await using serving = await Serving.start([...doors, '--listen', '127.0.0.1:0', '--poll', '0']);
    await using client = await connect(serving.url, { signal });
    await client.create({ name: 'frozen', file, atomic: true });
    const region = await client.attach('frozen', { access: 'read-write' });
    const { address } = findAppliance(serving.tcpUrl);
    const session = new ClientSession(new ControlClient({ address, token: undefined }));
    await session.open({ signal });
    const { reply } = await session.attach({ region: 'frozen' }, { signal });
    const { host, port, ticket } = await session.door();
    const hex = Buffer.from(ticket ?? []).toString('hex');
    const reach = { connect: `tcp:${host}:${port}`, stag: reply.stag, ticket: hex };
    await dirtyAll(region, PAGE);
    await region.sync({ timeoutMs: TIMEOUT_MS });
    await place(stage, serving.pid);
    const told = await rounds(stage, (number) =>
      round({ stage, socket, region, reach, bytes }, number),
    );
    await session.close({});
    await client.remove('frozen', { dirty: 'discard' });
    const met = Math.round(Math.min(...told.map((one) => one.met)) * 100);
    const short = told.filter((one) => !one.covered).length;
    const ended = short > 0 ? `; the sync was over before them in ${short} rounds` : '';
    const head = { name: 'sync-atomic-writer', placement: PLACEMENT, unit: 'us' } as const;
    const work = 'WRITE and fence 64B tcp, p99, to pages of an atomic sync, beside none synced';
    const target = { of: 'difference', most: 50 } as const;
    const note = `at least ${met} % of the WRITEs met a frozen page${ended}`;
    return [makeRow({ ...head, work, target, note }, told)];
  } finally {
    rmSync(file, { force: true });
    rmSync(join(stage.folder, 'atomic'), { recursive: true, force: true });
  }
}

export const FROZEN_WORKS: readonly Work[] = [
  { name: 'sync-atomic-writer', quick: false, files: 1, run: frozen },
];
