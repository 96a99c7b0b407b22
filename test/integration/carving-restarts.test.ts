/** Slabs over restarts of the appliance: whose they are is known there, whoever comes first. */
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

/** Short, so that a lost session ends soon; who loses one otherwise goes on with the next. */
const GRACE = ['--session-grace', '300ms'];

/** A way to the control socket of an appliance that can be cut, and mended. */
async function cuttable(folder: string) {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return near.destroy();
    const far = connect(join(folder, 's'));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
      from.pipe(to);
    }
    return near;
  });
  const path = join(folder, 'way');
  server.listen(path);
  await once(server, 'listening');
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  const mend = () => {
    isCut = false;
  };
  return { url: `farpage+unix:${path}`, cut, mend };
}

/** What `serve` is told of a region that outlives a restart, or else `create`. */
interface Kind {
  readonly file?: boolean;
  readonly created?: readonly string[];
}

const KINDS: [string, Kind][] = [
  ['kept by the appliance', { created: ['--size', '8KiB', '--persist'] }],
  ['of a file of the command line', { file: true }],
];

/** An appliance with the region `r`, and how it is killed and started again. */
async function served({ file = false, created }: Kind) {
  const folder = scratch();
  const words = [...GRACE];
  if (file) words.push(`r=${patternFile(folder, { length: 8192 })}`);
  let serve = await ServeProcess.start(folder, words);
  if (created !== undefined) await serve.json(['create', 'r', ...created]);
  return {
    folder,
    url: serve.ready.control,
    run: async (...args: string[]) => await serve.run(args),
    restart: async () => {
      await serve.end('SIGKILL');
      serve = await ServeProcess.start(folder, words);
    },
  };
}

const carvingFiles = (folder: string) =>
  readdirSync(join(folder, 'state', 'regions')).filter((name) => name.includes('.carving'));

it.each(KINDS)(
  'somebody else has carved before: they are over, also for who comes first (%s)',
  async (_, kind) => {
    const { folder, url, restart } = await served(kind);
    const way = await cuttable(folder);
    const first = await (await connectClient(way.url)).attach('r', { carve: true });
    const slab = first.allocate(64);
    await slab.write(0, Buffer.from('of the first'));
    way.cut();
    const other = await connectClient(url);
    let second: ExternalRegion | undefined;
    const attach = async () => {
      second = await other.attach('r', { carve: true }).catch(() => undefined);
      return second?.carve;
    };
    await expect.poll(attach, { timeout: 20_000 }).toBe(true);
    const place = second!.allocate(64);
    expect(place.offset).toBe(slab.offset);
    await place.write(0, Buffer.from('of the other'));
    await second!.sync();
    await restart();
    way.mend();
    expect(await codeOf(() => slab.write(0, Buffer.from('mine')))).toBe('ERR_REGION_CARVED');
    expect(await codeOf(() => first.allocate(64))).toBe('ERR_REGION_CARVED');
    expect(Buffer.from(await place.read(0, 12)).toString()).toBe('of the other');
    expect(second!.allocate(64).offset).toBe(place.offset + 64);
  },
);

it.each(KINDS)('nobody else has: they go on (%s)', async (_, kind) => {
  const { url, restart } = await served(kind);
  const region = await (await connectClient(url)).attach('r', { carve: true });
  const slab = region.allocate(64);
  await slab.write(0, Buffer.from('kept'));
  await region.sync();
  for (let starts = 0; starts < 2; starts += 1) {
    await restart();
    expect(Buffer.from(await slab.read(0, 4)).toString()).toBe('kept');
    expect(region.allocate(64).offset).toBe(64 * (starts + 1));
  }
});

it('they are over where nothing is known any more of who has carved', async () => {
  const { folder, url, restart } = await served({ created: ['--size', '8KiB', '--persist'] });
  const region = await (await connectClient(url)).attach('r', { carve: true });
  const slab = region.allocate(64);
  await slab.write(0, Buffer.from('x'));
  await region.sync();
  const [file = 'none'] = carvingFiles(folder);
  rmSync(join(folder, 'state', 'regions', file));
  await restart();
  expect(await codeOf(() => slab.write(0, Buffer.from('y')))).toBe('ERR_REGION_CARVED');
});

it('only who carves leaves a record, which goes with its region', async () => {
  const { folder, url, run } = await served({ created: ['--size', '8KiB', '--persist'] });
  const client = await connectClient(url);
  await (await client.attach('r')).read(0, 1);
  await (await client.allocate({ size: 8192 })).read(0, 1);
  await (await client.allocate({ name: 'plain', size: 8192 })).read(0, 1);
  expect(carvingFiles(folder)).toEqual([]);
  await client.attach('r', { carve: true });
  const one = [expect.stringMatching(/\.carving$/)];
  await expect.poll(() => carvingFiles(folder)).toEqual(one);
  await client.close();
  expect((await run('rm', 'r')).code).toBe(0);
  expect(carvingFiles(folder)).toEqual([]);
});
