import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { memoryFolder, pageOf, versionOf } from '../helpers/crash.js';
import { patternFile, scratch } from '../helpers/scratch.js';

/** How long files of a running process may become: beyond it, writes fail as on a full device. */
function limitFiles(pid: number, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', [`--fsize=${bytes}:unlimited`, '--pid', String(pid)]);
}

it('a file system that takes no file of that size is not called full', async () => {
  const folder = scratch();
  const serve = await ServeProcess.start(folder);
  limitFiles(serve.ready.pid, 2 ** 20);
  const file = join(folder, 'made');
  for (const make of [['--persist'], ['--file', file, '--make']]) {
    const { code, stderr } = await serve.run(['create', 'r', '--size', '2MiB', ...make]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('no file of 2097152 bytes')]);
  }
  expect(existsSync(file)).toBe(false);
  expect(readdirSync(join(folder, 'state', 'regions'))).toEqual([]);
});

it('an atomic region is drained in parts where its journal has no room for all of it', async () => {
  const folder = scratch();
  const size = 16 * 2 ** 20;
  const file = patternFile(folder, { length: size });
  const serve = await ServeProcess.start(folder);
  await serve.json(['create', 'r', '--file', file, '--atomic']);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.write(0, Buffer.concat(new Array(size / 4096).fill(pageOf(1))));
  limitFiles(serve.ready.pid, size / 2);
  expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
  expect((await serve.run(['sync', 'r'])).stderr).toMatch(/: r: .*\[ERR_NO_SPACE\]/);
  const part = await region.sync({ offset: 0, length: 65_536 });
  expect(part).toMatchObject({ pagesWritten: 16, durable: true });
  expect(versionOf(readFileSync(file).subarray(0, 4096))).toBe(1);
  limitFiles(serve.ready.pid, 'unlimited');
  expect((await region.sync()).pagesWritten).toBe(size / 4096 - 16);
});

describe.each(['kept', 'staged'] as const)('a %s region whose device is full', (kind) => {
  it('says so, loses nothing, and goes on once there is space', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 2 ** 20 });
    const serve = await ServeProcess.start(folder);
    const make = kind === 'kept' ? ['--size', '1MiB', '--persist'] : ['--file', file];
    await serve.json(['create', 'r', ...make, ...(kind === 'staged' ? ['--kind', 'staged'] : [])]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    await region.write(0, pageOf(1));
    await region.write(65_536, pageOf(1));
    const { epoch = 0 } = await region.sync();
    limitFiles(serve.ready.pid, 32_768);
    await region.write(0, pageOf(2)); // below the limit
    await region.write(65_536, pageOf(2));
    expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
    expect((await serve.run(['flush', 'r'])).stderr).toMatch(/: r: .*\[ERR_NO_SPACE\]/);
    const stat = await serve.json<RegionStat>(['stat', 'r']);
    expect(stat).toMatchObject({ state: 'ready', error: { code: 'ERR_NO_SPACE' } });
    expect(stat.pages.dirty).toBeGreaterThan(0);
    expect(versionOf(await region.read(65_536, 4096))).toBe(2);
    // Neither does the catalog take what it cannot keep, nor is it hurt.
    limitFiles(serve.ready.pid, 0);
    const refused = await serve.run(['create', 'other', '--size', '1MiB', '--persist']);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('ERR_NO_SPACE')]);
    expect(await serve.json<{ name: string }>(['regions'])).toMatchObject({ name: 'r' });
    limitFiles(serve.ready.pid, 'unlimited');
    const synced = await region.sync();
    expect(synced.epoch).toBeGreaterThan(epoch);
    expect((await serve.json<RegionStat>(['stat', 'r'])).error).toBeUndefined();
    await serve.json(['create', 'other', '--size', '1MiB', '--persist']);
    expect(await serve.end('SIGTERM')).toBe(0);
    const again = await ServeProcess.start(folder);
    const after = await (await connectClient(again.ready.control)).attach('r');
    expect(versionOf(await after.read(65_536, 4096))).toBe(2);
    expect(await after.receipt()).toMatchObject({ start: 'clean', lostSince: null });
    if (kind === 'staged') expect(versionOf(readFileSync(file).subarray(0, 4096))).toBe(2);
  });

  it('keeps what was synced when it is killed meanwhile', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 2 ** 20 });
    const serve = await ServeProcess.start(folder);
    const make = kind === 'kept' ? ['--size', '1MiB', '--persist'] : ['--file', file];
    await serve.json(['create', 'r', ...make, ...(kind === 'staged' ? ['--kind', 'staged'] : [])]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    await region.write(65_536, pageOf(1));
    const { epoch } = await region.sync();
    limitFiles(serve.ready.pid, 0);
    await region.write(65_536, pageOf(2));
    expect(await codeOf(() => region.sync())).toBe('ERR_NO_SPACE');
    await serve.end('SIGKILL');
    const again = await ServeProcess.start(folder);
    const after = await (await connectClient(again.ready.control)).attach('r');
    expect(versionOf(await after.read(65_536, 4096))).toBe(1);
    expect(await after.receipt()).toMatchObject({ start: 'unclean', lostSince: epoch });
  });
});

it('a create that the memory directory has no room for leaves nothing there', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const file = patternFile(folder, { length: 2 ** 20 });
  const serve = await ServeProcess.start(folder, ['--memory-dir', memory]);
  const words = ['create', 'r', '--file', file, '--kind', 'staged'];
  limitFiles(serve.ready.pid, 2 ** 18); // Enough for the page table, too little for the pages.
  const refused = await serve.run(words);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('ERR_NO_SPACE')]);
  expect(readdirSync(memory)).toEqual([]);
  limitFiles(serve.ready.pid, 'unlimited');
  await serve.json(words);
  expect(readdirSync(memory)).toHaveLength(2);
});
