import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/client/client.js';
import type { RegionStat, RestartReceipt, TierList } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { mount, NO_MOUNT } from '../helpers/mounted-disk.js';
import { patternFile, scratch } from '../helpers/scratch.js';

/** More rounds in a long run. */
const ROUNDS = Number(process.env.FARPAGE_CRASH_ROUNDS ?? 4);
const SEED = Number(process.env.FARPAGE_SEED ?? Date.now() % 2 ** 31);
const PAGES = 256;

/** A folder on the tmpfs that every Linux has. */
function memoryFolder(): string {
  const path = mkdtempSync('/dev/shm/farpage-test-');
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function randomOf(seed: number): (below: number) => number {
  let state = seed || 1;
  return (below) => {
    state = (Math.imul(state, 48_271) >>> 0) % 0x7fff_ffff || 1;
    return state % below;
  };
}

const pageOf = (version: number) => Buffer.alloc(4096, Buffer.from(`${version}|`));

it('loses nothing, synced or not, when it is killed with a memory directory', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const file = patternFile(folder, { length: PAGES * 4096 });
  const words = ['--memory-dir', memory, `file=${file}`];
  const random = randomOf(SEED);
  const names = ['file', 'kept', 'plain'];
  const done = new Map(names.map((name) => [name, new Map<number, number>()]));
  let version = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const serve = await ServeProcess.start(folder, words);
    const client = await connect(serve.ready.control);
    if (round === 0) {
      await serve.run(['create', 'kept', '--size', '1MiB', '--persist']);
      await serve.run(['create', 'plain', '--size', '1MiB']);
    }
    const unsure = new Map<string, number>();
    const check = async (name: string) => {
      const region = await client.attach(name);
      const known = done.get(name)!;
      for (const [page, seen] of known) {
        const bytes = await region.read(page * 4096, 4096);
        expect(Buffer.compare(bytes, pageOf(seen)), `${name} ${page} seed ${SEED}`).toBe(0);
      }
      const receipt = await region.receipt();
      expect(receipt).toMatchObject({ lostSince: null, conflicts: { pages: 0 } });
      if (round > 0) expect(receipt).toMatchObject({ start: 'unclean', memory: 'adopted' });
      return { name, region, known };
    };
    const found = await Promise.all(names.map(check));
    const writers = found.map(async ({ name, region, known }) => {
      for (;;) {
        const page = random(PAGES);
        version += 1;
        const mine = version;
        unsure.set(name, page);
        try {
          await region.write(page * 4096, pageOf(mine), { timeoutMs: 2000 });
          await region.fence({ timeoutMs: 2000 });
          if (random(16) === 0 && name !== 'plain') await region.sync({ timeoutMs: 2000 });
        } catch {
          return;
        }
        known.set(page, mine);
        unsure.delete(name);
      }
    });
    await sleep(150 + random(150));
    await serve.end('SIGKILL');
    await Promise.all(writers);
    await client.close();
    // A write that was under way may be there or not.
    for (const [name, page] of unsure) done.get(name)!.delete(page);
  }
  for (const known of done.values()) expect(known.size).toBeGreaterThan(PAGES / 8);
});

it('knows a reboot from a kill, and says since which sync writes are lost', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const serve = await ServeProcess.start(folder, ['--memory-dir', memory]);
  await serve.run(['create', 'notes', '--size', '1MiB', '--persist']);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  await region.write(0, pageOf(1));
  const { epoch } = await region.sync();
  expect(epoch).toBe(1);
  await region.write(0, pageOf(2));
  await region.write(4096, pageOf(3));
  await region.fence();
  await serve.end('SIGKILL');
  // The machine was started again: what is in the directory is of another boot.
  const second = await serveAppliance({ memoryDirectory: memory, bootId: 'another' }, folder);
  const after = await (await connectClient(second.url)).attach('notes');
  expect(await after.receipt()).toMatchObject({
    start: 'unclean',
    memory: 'discarded',
    kept: { clean: 0, dirty: 0 },
    epoch: 2,
    lostSince: 1,
    lastLoss: 1,
  });
  expect(await after.lostSince(1)).toBe(true);
  expect(Buffer.compare(await after.read(0, 4096), pageOf(1))).toBe(0);
  expect((await after.read(4096, 4096)).every((byte) => byte === 0)).toBe(true);
  expect(await after.receipt()).toMatchObject({ restored: 1, filled: 1 });
  // From the next sync on the loss is behind its client.
  const next = await after.sync();
  expect(await after.lostSince(next.epoch ?? 0)).toBe(false);
  await second.appliance.close();
  const third = await serveAppliance({ memoryDirectory: memory, bootId: 'another' }, folder);
  const last = await (await connectClient(third.url)).attach('notes');
  expect(await last.receipt()).toMatchObject({ start: 'clean', lostSince: null, lastLoss: 1 });
});

it('names dirty pages of a file that changed meanwhile, and writes none of them', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const file = patternFile(folder, { length: 64 * 4096 });
  const words = ['--memory-dir', memory, `r=${file}`];
  const serve = await ServeProcess.start(folder, words);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.read(0, 4096);
  await region.write(3 * 4096, pageOf(7));
  await region.fence();
  await serve.end('SIGKILL');
  const changed = Buffer.alloc(64 * 4096, 'other');
  writeFileSync(file, changed);
  utimesSync(file, 1, 1);
  const again = await ServeProcess.start(folder, words);
  const after = await (await connectClient(again.ready.control)).attach('r');
  const receipt = await again.json<RestartReceipt>(['receipt', 'r']);
  expect(receipt).toMatchObject({ memory: 'conflict', kept: { clean: 0, dirty: 0 } });
  expect(receipt.conflicts).toMatchObject({ pages: 1, runs: [{ offset: 3 * 4096, length: 4096 }] });
  expect(existsSync(receipt.conflicts.file ?? '')).toBe(true);
  expect(Buffer.compare(await after.read(0, 4096), changed.subarray(0, 4096))).toBe(0);
  await expect(after.read(3 * 4096, 10)).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
  await expect(after.sync()).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
  // Part of the page does not bring it back, in this process or the next one; all of it does.
  const inPart = after.write(3 * 4096 + 1, pageOf(8).subarray(1));
  await expect(inPart).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
  await again.end('SIGKILL');
  const third = await ServeProcess.start(folder, words);
  const last = await (await connectClient(third.ready.control)).attach('r');
  await expect(last.read(3 * 4096, 10)).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
  await last.write(3 * 4096, pageOf(8));
  await last.fence();
  await third.end('SIGKILL');
  const fourth = await ServeProcess.start(folder, words);
  const healed = await (await connectClient(fourth.ready.control)).attach('r');
  expect(Buffer.compare(await healed.read(3 * 4096, 4096), pageOf(8))).toBe(0);
  expect(await healed.sync()).toMatchObject({ pagesWritten: 1, durable: true });
  pageOf(8).copy(changed, 3 * 4096);
  expect(Buffer.compare(readFileSync(file), changed)).toBe(0);
  rmSync(receipt.conflicts.file ?? '');
  await fourth.run(['rm', 'r']);
  expect(readdirSync(memory)).toEqual([]);
});

it('takes no memory that is older than what a process without it was given', async () => {
  const folder = scratch();
  const words = ['--memory-dir', memoryFolder()];
  const serve = await ServeProcess.start(folder, words);
  await serve.run(['create', 'plain', '--size', '1MiB']);
  await serve.run(['create', 'kept', '--size', '1MiB', '--persist']);
  const names = ['plain', 'kept'];
  const first = await connectClient(serve.ready.control);
  for (const name of names) {
    const region = await first.attach(name);
    await region.write(0, pageOf(1));
    await region.fence();
  }
  await serve.end('SIGKILL');
  // Who only looks makes nothing old.
  const looks = await ServeProcess.start(folder, []);
  const looking = await connectClient(looks.ready.control);
  for (const name of names) {
    const region = await looking.attach(name, { access: 'read-only' });
    expect((await region.read(0, 4096)).every((byte) => byte === 0)).toBe(true);
  }
  await looks.end('SIGKILL');
  const back = await ServeProcess.start(folder, words);
  const found = await connectClient(back.ready.control);
  for (const name of names) {
    const region = await found.attach(name);
    expect(Buffer.compare(await region.read(0, 4096), pageOf(1)), name).toBe(0);
    expect(await region.receipt()).toMatchObject({ memory: 'adopted', lostSince: null });
  }
  await back.end('SIGKILL');
  const without = await ServeProcess.start(folder, []);
  const others = await connectClient(without.ready.control);
  for (const name of names) {
    const region = await others.attach(name);
    await region.write(4096, pageOf(2));
    await region.fence();
  }
  await without.end('SIGKILL');
  const last = await ServeProcess.start(folder, words);
  const again = await connectClient(last.ready.control);
  for (const name of names) {
    const region = await again.attach(name);
    await expect(region.read(0, 4096), name).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
    const receipt = await last.json<RestartReceipt>(['receipt', name]);
    expect(receipt).toMatchObject({ start: 'unclean', memory: 'stale', kept: { dirty: 0 } });
    expect(receipt.lostSince, name).toBe(receipt.lastLoss);
    expect(receipt.conflicts).toMatchObject({ pages: 1, runs: [{ offset: 0, length: 4096 }] });
    const aside = readFileSync(receipt.conflicts.file ?? '').subarray(0, 4096);
    expect(Buffer.compare(aside, pageOf(1)), name).toBe(0);
    // It is told once; from then on the memory is this region's again.
    await region.write(0, pageOf(3));
    await region.fence();
  }
  await last.end('SIGKILL');
  const healed = await ServeProcess.start(folder, words);
  const kept = await connectClient(healed.ready.control);
  for (const name of names) {
    const region = await kept.attach(name);
    expect(await region.receipt()).toMatchObject({ memory: 'adopted', lostSince: null });
    expect(Buffer.compare(await region.read(0, 4096), pageOf(3)), name).toBe(0);
  }
});

it('takes no memory of one directory that is older than what was written in another', async () => {
  const folder = scratch();
  const [one, other] = [memoryFolder(), memoryFolder()];
  const write = async (memory: string, version: number) => {
    const serve = await ServeProcess.start(folder, ['--memory-dir', memory]);
    if (version === 1) await serve.run(['create', 'plain', '--size', '1MiB']);
    const region = await (await connectClient(serve.ready.control)).attach('plain');
    const { memory: found, lostSince } = await region.receipt();
    await region.write(0, pageOf(version));
    await region.fence();
    await serve.end('SIGKILL');
    return { found, lost: lostSince !== null };
  };
  expect(await write(one, 1)).toEqual({ found: 'made', lost: false });
  expect(await write(other, 2)).toEqual({ found: 'made', lost: true });
  expect(await write(one, 3)).toEqual({ found: 'stale', lost: true });
  expect(await write(one, 4)).toEqual({ found: 'adopted', lost: false });
  expect(await write(other, 5)).toEqual({ found: 'stale', lost: true });
});

it('counts what a killed process has left in memory before anybody touches it', async () => {
  const folder = scratch();
  const words = ['--memory-dir', memoryFolder(), '--memory', '16MiB'];
  const [half, chunk] = [8 * 2 ** 20, 256 * 1024];
  const serve = await ServeProcess.start(folder, words);
  const client = await connect(serve.ready.control);
  for (const name of ['dirty', 'clean', 'next']) {
    await serve.run(['create', name, '--size', '32MiB', '--persist']);
  }
  const dirty = await client.attach('dirty');
  const clean = await client.attach('clean');
  for (let at = 0; at < half / 2; at += chunk) {
    await dirty.write(at, Buffer.alloc(chunk, 1));
    await clean.write(at, Buffer.alloc(chunk, 2));
  }
  await dirty.fence();
  await clean.sync();
  await client.close();
  await serve.end('SIGKILL');
  const second = await ServeProcess.start(folder, words);
  const found = await second.json<TierList>(['tiers']);
  expect(found.memory.pageBytes).toBe(half);
  const { stdout } = await second.run(['regions', '--json']);
  const lines = stdout.toString().trim().split('\n');
  const regions = lines.map((line) => JSON.parse(line) as RegionStat);
  const pages = half / 2 / 4096;
  expect(regions.map(({ name, pages: { present, dirty } }) => [name, present, dirty])).toEqual([
    ['clean', pages, 0],
    ['dirty', pages, pages],
    ['next', 0, 0],
  ]);
  // It is opened by and by, so that what is clean leaves room for others, and counted once.
  const stateOf = async (name: string) => (await second.json<RegionStat>(['stat', name])).state;
  await expect.poll(() => stateOf('clean'), { timeout: 20_000 }).toBe('ready');
  await expect.poll(() => stateOf('dirty'), { timeout: 20_000 }).toBe('ready');
  const again = await connectClient(second.ready.control);
  const next = await again.attach('next');
  for (let at = 0; at < 2 * half; at += chunk) await next.read(at, chunk);
  const now = await second.json<TierList>(['tiers']);
  expect(now.memory.pageBytes).toBeLessThanOrEqual(2 * half);
  await second.end('SIGKILL');
  // Who removes it unseen hears that it is dirty.
  const third = await ServeProcess.start(folder, words);
  expect((await third.run(['rm', 'dirty'])).stderr).toContain('ERR_REGION_DIRTY');
  for (const name of ['dirty', 'clean', 'next']) await third.json(['rm', name, '--discard']);
  expect((await third.json<TierList>(['tiers'])).memory.pageBytes).toBe(0);
});

it('shows what is left of a region that cannot be opened, and asks before it goes', async () => {
  const folder = scratch();
  const words = ['--memory-dir', memoryFolder()];
  const serve = await ServeProcess.start(folder, words);
  const client = await connectClient(serve.ready.control);
  const files = ['back', 'gone'].map((name) => join(folder, name));
  for (const path of files) {
    writeFileSync(path, Buffer.alloc(2 ** 20));
    const name = basename(path);
    await serve.run(['create', name, '--file', path]);
    const region = await client.attach(name);
    await region.write(0, pageOf(1));
    await region.read(2 ** 19, 1);
    await region.fence();
  }
  await serve.end('SIGKILL');
  for (const path of files) renameSync(path, `${path}.away`);
  const second = await ServeProcess.start(folder, words);
  const bytes = async () => (await second.json<TierList>(['tiers'])).memory.pageBytes;
  const { pages } = await second.json<RegionStat>(['stat', 'gone']);
  expect(pages.dirty).toBe(1);
  expect(pages.present).toBeGreaterThanOrEqual(2);
  expect((await second.run(['rm', 'gone'])).stderr).toContain('ERR_REGION_DIRTY');
  const before = await bytes();
  await second.json(['rm', 'gone', '--discard']);
  expect(await bytes()).toBe(before - pages.present * 4096);
  for (const path of files) renameSync(`${path}.away`, path);
  expect(await second.json(['sync', 'back'])).toMatchObject({ pagesWritten: 1 });
  expect(readFileSync(join(folder, 'back')).subarray(0, 4096).equals(pageOf(1))).toBe(true);
});

it('has nothing of memory whose page table was cut, and says since when it is lost', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const serve = await ServeProcess.start(folder, ['--memory-dir', memory]);
  await serve.run(['create', 'notes', '--size', '1MiB', '--persist']);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  await region.write(0, pageOf(1));
  const { epoch } = await region.sync();
  await region.write(0, pageOf(2));
  await region.fence();
  await serve.end('SIGKILL');
  const table = readdirSync(memory).find((name) => name.endsWith('.table'));
  truncateSync(join(memory, table ?? ''), 4096);
  const second = await ServeProcess.start(folder, ['--memory-dir', memory]);
  const after = await (await connectClient(second.ready.control)).attach('notes');
  const discarded = { memory: 'discarded', kept: { dirty: 0 }, lostSince: epoch };
  expect(await after.receipt()).toMatchObject(discarded);
  expect(Buffer.compare(await after.read(0, 4096), pageOf(1))).toBe(0);
});

it('says that the file system of its memory is full, and where that is', async (context) => {
  const memory = mount('-t', 'tmpfs', '-o', 'size=4M', 'tmpfs');
  if (memory === undefined) return context.skip(NO_MOUNT);
  const serve = await ServeProcess.start(scratch(), ['--memory-dir', memory]);
  await serve.run(['create', 'big', '--size', '16MiB', '--persist']);
  const region = await (await connectClient(serve.ready.control)).attach('big');
  const fill = async () => {
    for (let at = 0; at < region.size; at += 65_536)
      await region.write(at, Buffer.alloc(65_536, 1));
  };
  expect(await codeOf(fill)).toBe('ERR_NO_SPACE');
  const { error } = await serve.json<RegionStat>(['stat', 'big']);
  expect(error).toMatchObject({ code: 'ERR_NO_SPACE', message: expect.stringContaining(memory) });
  // What is there goes on.
  expect((await region.read(0, 1))[0]).toBe(1);
  expect(await serve.json(['sync', 'big'])).toMatchObject({ durable: true });
});

it('refuses a memory directory that is no tmpfs, and one that somebody else has', async () => {
  const folder = scratch();
  const open = (memoryDirectory: string, at: string) => serveAppliance({ memoryDirectory }, at);
  await expect(open(join(folder, 'm'), folder)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  const memory = memoryFolder();
  await open(memory, folder);
  await expect(open(memory, scratch())).rejects.toMatchObject({ code: 'ERR_LOCKED_STATE' });
});
