import { spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import type { RegionStat, RestartReceipt, StartReport } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { memoryFolder, pageOf } from '../helpers/crash.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

const startOf = (serve: ServeProcess) => (serve.ready as unknown as { start: StartReport }).start;

it('says that no tier takes pages of a memory directory', async () => {
  const [folder, memory] = [scratch(), memoryFolder()];
  const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const words = ['serve', ...doors, '--memory-dir', memory, '--tier', 'compressed:1MiB'];
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (line.startsWith('started:')) break;
  }
  expect(lines).toContain(
    `regions in ${memory} stay in memory: no tier and no spill file takes their pages`,
  );
});

it('tells what it found when it starts, and receipts of all regions, one a line', async () => {
  const folder = scratch();
  const words = ['--memory-dir', memoryFolder()];
  const first = await ServeProcess.start(folder, words);
  const nothing = { start: 'clean', regions: 0, inMemory: 0, orphans: [], workingSets: [] };
  expect(startOf(first)).toEqual(nothing);
  await first.json(['create', 'b', '--size', '1MiB', '--persist']);
  await first.json(['create', 'a', '--size', '1MiB', '--persist']);
  const region = await (await connectClient(first.ready.control)).attach('b');
  await region.write(0, pageOf(1));
  await region.fence();
  await first.end('SIGKILL');
  const second = await ServeProcess.start(folder, words);
  expect(startOf(second)).toMatchObject({ start: 'unclean', regions: 2, orphans: [] });
  const output = (await second.run(['receipt', '--json'])).stdout.toString().trim();
  const [start = '', ...lines] = output.split('\n');
  expect(JSON.parse(start)).toEqual(startOf(second));
  const receipts = lines.map((line) => JSON.parse(line) as RestartReceipt);
  expect(receipts.map(({ region: name, kept }) => [name, kept.dirty])).toEqual([
    ['a', 0],
    ['b', 1],
  ]);
  const text = (await second.run(['receipt'])).stdout.toString();
  expect(text).toContain('\nb: its last process died, 1 page kept in memory, 1 of them dirty');
  expect(text).toMatch(/^started: the one before did not end well; 2 regions, .*\na: .*\nb: .*\n$/);
});

it('tells the receipts of all regions behind one that is unavailable, which it names', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  const files = ['b', 'c'].map((name) => join(folder, name));
  for (const file of files) {
    await first.json(['create', '--file', file, '--size', '64K', '--make', basename(file)]);
  }
  await first.json(['create', 'a', '--size', '1MiB']);
  await first.json(['create', 'd', '--size', '1MiB']);
  await first.end();
  for (const file of files) rmSync(file);
  const second = await ServeProcess.start(folder);
  const told = await second.run(['receipt', '--json']);
  const lines = told.stdout.toString().trim().split('\n');
  const error = { code: 'ERR_FILE_NOT_FOUND', message: expect.stringContaining('does not exist') };
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    startOf(second),
    expect.objectContaining({ region: 'a', lostSince: null }),
    { region: 'b', error },
    { region: 'c', error },
    expect.objectContaining({ region: 'd', lostSince: null }),
  ]);
  expect([told.code, told.stderr]).toEqual([1, expect.stringContaining('2 of 4 regions')]);
  const text = await second.run(['receipt']);
  const [, a, b, c, d] = text.stdout.toString().split('\n');
  expect([a, d]).toEqual([
    expect.stringMatching(/^a: .* nothing lost$/),
    expect.stringMatching(/^d: .* nothing lost$/),
  ]);
  expect([b, c].map((line) => line?.slice(1, 16))).toEqual(Array(2).fill(': unavailable: '));
  const one = await second.run(['receipt', 'b']);
  expect([one.code, one.stdout.toString()]).toEqual([1, '']);
  expect(one.stderr).toMatch(/^farpage: .*: b: .* \[ERR_FILE_NOT_FOUND\]\n$/);
});

it("tells what a region's opening would find, and leaves idle what is only reserved", async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  for (const name of ['lost', 'synced', 'unused']) {
    await first.json(['create', name, '--size', '1MiB', '--persist']);
  }
  await first.json(['create', 'plain', '--size', '1TiB']);
  const client = await connectClient(first.ready.control);
  for (const name of ['lost', 'plain', 'synced']) {
    await (await client.attach(name)).writeSync(0, pageOf(1));
    if (name !== 'plain') await first.json(['sync', name]);
  }
  await (await client.attach('lost')).writeSync(0, pageOf(2));
  await client.close();
  await first.end('SIGKILL');
  const second = await ServeProcess.start(folder);
  const receipts = async () => {
    const output = (await second.run(['receipt', '--json'])).stdout.toString().trim();
    return output
      .split('\n')
      .slice(1)
      .map((line) => JSON.parse(line) as RestartReceipt);
  };
  const told = await receipts();
  expect(told.map(({ region, start, epoch }) => [region, start, epoch])).toEqual([
    ['lost', 'unclean', 2],
    ['plain', 'unclean', 1],
    ['synced', 'unclean', 2],
    ['unused', 'unclean', 0],
  ]);
  const states = async () => {
    const output = (await second.run(['regions', '--json'])).stdout.toString().trim();
    return output.split('\n').map((line) => (JSON.parse(line) as RegionStat).state);
  };
  expect(await states()).toEqual(Array(4).fill('idle'));
  const again = await connectClient(second.ready.control);
  for (const { region } of told) await again.attach(region);
  expect(await states()).not.toContain('idle');
  expect(await receipts()).toEqual(told);
});

it('names files of no region in the memory directory too, but for those of no page', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const words = ['--memory-dir', memory];
  const first = await ServeProcess.start(folder, words);
  const file = patternFile(folder, { length: 4096 });
  await first.json(['create', 'r', '--size', '1GiB']);
  await first.json(['create', 'file', '--file', file]);
  const client = await connectClient(first.ready.control);
  const region = await client.attach('r');
  await region.write(2 ** 20, pageOf(1));
  await region.fence();
  // Allocated, and never touched: its files are there, with nothing in them.
  await client.attach('file');
  await first.end('SIGKILL');
  expect(readdirSync(memory)).toHaveLength(4);
  rmSync(join(folder, 'state'), { recursive: true });
  const second = await ServeProcess.start(folder, words);
  const { orphans } = startOf(second);
  expect(orphans).toEqual([
    { file: expect.stringMatching(/^.*\.memory$/), bytes: expect.any(Number) },
    { file: expect.stringMatching(/^.*\.table$/), bytes: expect.any(Number) },
  ]);
  expect((await second.run(['receipt'])).stdout.toString()).toContain(orphans[0]?.file);
  expect(await second.end()).toBe(0);
  const third = await ServeProcess.start(folder, words);
  expect(startOf(third).orphans).toEqual(orphans);
  expect(readdirSync(memory)).toHaveLength(2);
});

it('names kept files of no region and leaves them, but for those that are empty', async () => {
  const folder = scratch();
  const kept = join(folder, 'state', 'regions');
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'r', '--size', '1MiB', '--persist']);
  const region = await (await connectClient(first.ready.control)).attach('r');
  await region.write(0, pageOf(1));
  await region.sync();
  expect(await first.end()).toBe(0);
  const [known = ''] = readdirSync(kept).filter((name) => name.endsWith('.pages'));
  const orphan = join(kept, `${'a'.repeat(32)}.pages`);
  copyFileSync(join(kept, known), orphan);
  // What a crash while a region was made leaves: nobody was told of it.
  const empty = join(kept, `${'b'.repeat(32)}.pages`);
  closeSync(openSync(empty, 'w'));
  truncateSync(empty, 2 ** 20);
  const half = join(kept, `${'c'.repeat(32)}.pages.new`);
  closeSync(openSync(half, 'w'));
  const second = await ServeProcess.start(folder);
  expect(startOf(second).orphans).toEqual([{ file: orphan, bytes: expect.any(Number) }]);
  expect([orphan, join(kept, known), empty, half].map((path) => existsSync(path))).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect((await second.run(['receipt'])).stdout.toString()).toContain(orphan);
  await second.end();
  // Without its catalog no region is known, and what was synced stays.
  rmSync(join(folder, 'state', 'catalog.json'));
  const third = await ServeProcess.start(folder);
  expect(startOf(third).orphans.map(({ file }) => file)).toEqual(
    [orphan, join(kept, known)].sort(),
  );
});

it('is told by the next start that comes about, where those before it failed', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  const fail = async () => {
    const words = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    const { code, stderr } = await farpage(['serve', ...words, join(folder, 'nothing')]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('ERR_FILE_NOT_FOUND')]);
  };
  await first.end('SIGTERM');
  await fail();
  const second = await ServeProcess.start(folder);
  expect(startOf(second).start).toBe('clean');
  await second.end('SIGKILL');
  await fail();
  expect(startOf(await ServeProcess.start(folder)).start).toBe('unclean');
});

it.each([
  ['missing', 'ERR_FILE_NOT_FOUND', rmSync],
  ['cut', 'ERR_FILE_CHANGED', (file: string) => truncateSync(file, 4096)],
] as const)(
  'says that a kept file is %s before anybody touches its region',
  async (_, code, harm) => {
    const folder = scratch();
    const first = await ServeProcess.start(folder);
    await first.json(['create', 'r', '--size', '1MiB', '--persist']);
    await first.run(['write', 'r'], { input: pageOf(1) });
    await first.json(['sync', 'r']);
    expect(await first.end()).toBe(0);
    const kept = join(folder, 'state', 'regions');
    const name = readdirSync(kept).find((one) => one.endsWith('.pages')) ?? '';
    harm(join(kept, name));
    const second = await ServeProcess.start(folder);
    const told = await second.run(['receipt', 'r']);
    expect([told.code, told.stdout.toString()]).toEqual([1, '']);
    expect(told.stderr).toContain(code);
    expect(told.stderr).toContain(name);
    const stat = await second.json(['stat', 'r']);
    expect(stat).toMatchObject({ state: 'unavailable', error: { code } });
  },
);

it('tidies up behind an interrupted removal, and keeps what is of served files', async () => {
  const folder = scratch();
  const kept = join(folder, 'state', 'regions');
  const files = ['served', 'made'].map((name) => patternFile(folder, { length: 8192, name }));
  const first = await ServeProcess.start(folder, [files[0]!]);
  await first.json(['create', 'made', '--file', files[1]!]);
  const client = await connectClient(first.ready.control);
  for (const name of ['served', 'made']) {
    await first.run(['write', name], { input: 'x' });
    await first.run(['sync', name]);
    await first.run(['working-set', name, '--save']);
    await client.attach(name, { carve: true });
  }
  await client.close();
  const saved = new Map(readdirSync(kept).map((name) => [name, readFileSync(join(kept, name))]));
  await first.json(['rm', 'made']);
  await first.end();
  const left = readdirSync(kept);
  expect([saved.size, left.length]).toEqual([6, 3]);
  for (const [name, bytes] of saved) writeFileSync(join(kept, name), bytes);
  const second = await ServeProcess.start(folder);
  expect(readdirSync(kept)).toEqual(left);
  await second.end();
});

it('knows whose record of syncs is missing: of what was synced, and no other', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  for (const name of ['a', 'b']) await first.json(['create', name, '--size', '1MiB', '--persist']);
  const client = await connectClient(first.ready.control);
  for (const name of ['a', 'b']) {
    const region = await client.attach(name);
    await region.write(0, pageOf(1));
    if (name === 'a') expect(await region.sync()).toMatchObject({ epoch: 1 });
  }
  const kept = join(folder, 'state', 'regions');
  const catalog = () => readFileSync(join(folder, 'state', 'catalog.json'), 'utf8');
  await expect.poll(catalog, { timeout: 20_000 }).toContain('"synced":true');
  await first.end('SIGKILL');
  for (const name of readdirSync(kept)) if (name.endsWith('.sync')) rmSync(join(kept, name));
  const second = await ServeProcess.start(folder);
  const lost = { start: 'unclean', syncRecord: 'missing', lostSince: 0, epoch: 1 };
  expect(await second.json(['receipt', 'a'])).toMatchObject(lost);
  expect((await second.run(['receipt', 'a'])).stdout.toString()).toContain(
    'a: its sync record is missing',
  );
  // Nobody has ever heard of a sync of this one.
  expect(await second.json(['receipt', 'b'])).toMatchObject({ start: 'first', lostSince: null });
  await second.run(['read', 'a', '--length', '4KiB']);
  expect(await second.json(['receipt', 'a'])).toMatchObject(lost);
  await second.end('SIGTERM');
  const third = await ServeProcess.start(folder);
  expect(await third.json(['receipt', 'a'])).toMatchObject({ syncRecord: 'whole', lastLoss: 0 });
});
