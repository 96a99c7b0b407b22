import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Receipt, RegionStat } from '../../src/control/schema.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { independentView } from '../helpers/independent-view.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 3 * 1024 * 1024 + 777;

describe('the main job on the command line', () => {
  it('serves, tells, reads, writes and syncs as the README says', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const original = patternOf(LENGTH);
    const serve = await ServeProcess.start(folder, [file, '--memory', '1GiB']);
    expect(serve.ready.regions).toEqual(['file.bin']);
    const before = await serve.json<RegionStat>(['stat', 'file.bin']);
    const none = { present: 0, dirty: 0, elsewhere: 0, unreachable: 0, written: 0, lost: 0 };
    expect(before.pages).toEqual({ total: 769, ...none, pinned: 0 });
    const range = ['--offset', '1MiB', '--length', '4KiB'];
    const read = await serve.run(['read', 'file.bin', ...range]);
    expect(read.code).toBe(0);
    expect(Buffer.compare(read.stdout, original.subarray(2 ** 20, 2 ** 20 + 4096))).toBe(0);
    expect((await serve.json<RegionStat>(['stat', 'file.bin'])).pages.present).toBe(1);
    const write = await serve.run(['write', 'file.bin', '--offset', '4096'], { input: 'patch' });
    expect([write.code, write.stdout.length]).toEqual([0, 0]);
    expect(Buffer.compare(await independentView(file), original)).toBe(0);
    const receipt = await serve.json<Receipt>(['sync', 'file.bin']);
    expect(receipt).toEqual({
      region: 'file.bin',
      pagesWritten: 1,
      bytesWritten: 4096,
      durable: true,
      elapsedMs: expect.any(Number),
      epoch: 1,
    });
    original.write('patch', 4096);
    expect(Buffer.compare(await independentView(file), original)).toBe(0);
    const flush = await serve.json<Receipt>(['flush', 'file.bin']);
    expect(flush).toMatchObject({ pagesWritten: 0, bytesWritten: 0, durable: false });
  });

  it('streams all of a region, and writes its last partial page to the byte', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    const whole = await serve.run(['read', 'm']);
    expect(Buffer.compare(whole.stdout, patternOf(LENGTH))).toBe(0);
    const input = join(folder, 'input');
    writeFileSync(input, patternOf(LENGTH, 1));
    const wrote = await serve.json(['write', 'm', '--input', input]);
    expect(wrote).toEqual({ region: 'm', offset: 0, bytesWritten: LENGTH });
    const output = join(folder, 'output');
    expect((await serve.run(['read', 'm', '--output', output])).code).toBe(0);
    expect(Buffer.compare(readFileSync(output), patternOf(LENGTH, 1))).toBe(0);
    const tail = ['--offset', String(LENGTH - 5), '--length', '5'];
    expect((await serve.json<Receipt>(['sync', 'm', ...tail])).bytesWritten).toBe(777);
    expect((await serve.json<Receipt>(['sync', 'm'])).bytesWritten).toBe(LENGTH - 777);
    expect(statSync(file).size).toBe(LENGTH);
    expect(Buffer.compare(await independentView(file), patternOf(LENGTH, 1))).toBe(0);
  });

  it('refuses input beyond the end before the first byte, when the size is known', async () => {
    const folder = scratch();
    const serve = await ServeProcess.start(folder, [`m=${patternFile(folder, { length: 8192 })}`]);
    const input = join(folder, 'input');
    writeFileSync(input, patternOf(8193, 1));
    const refused = await serve.run(['write', 'm', '--input', input, '--json']);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stderr)).toMatchObject({ code: 'ERR_RANGE' });
    expect((await serve.json<RegionStat>(['stat', 'm'])).pages.dirty).toBe(0);
    const piped = await serve.run(['write', 'm', '--offset', '4096'], { input: patternOf(5000) });
    expect([piped.code, piped.stderr]).toEqual([1, expect.stringContaining('[ERR_RANGE]')]);
    const read = await serve.run(['read', 'm', '--offset', '8192', '--length', '1']);
    expect(read.stderr).toContain('[ERR_RANGE]');
    expect((await serve.run(['read', 'm', '--offset', '8192'])).code).toBe(0);
  });

  it('is ended quietly by a closed pipe', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
    const env = { ...process.env, FARPAGE_URL: serve.ready.control };
    const child = spawn(process.execPath, [main, 'read', 'm'], { env });
    let stderr = '';
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString();
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = (await once(child, 'close')) as [number];
    expect([code, stderr]).toEqual([0, '']);
  });

  it('syncs on SIGTERM, and names the pages when that fails', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 5 * 4096 });
    const first = await ServeProcess.start(folder, [`m=${file}`]);
    await first.run(['write', 'm', '--offset', '4096'], { input: 'kept' });
    expect(await first.end()).toBe(0);
    expect((await independentView(file)).toString('latin1', 4096, 4100)).toBe('kept');
    const second = await ServeProcess.start(folder, [`m=${file}`]);
    await second.run(['write', 'm', '--offset', '16384'], { input: 'lost' });
    truncateSync(file, 8192);
    expect(await second.end()).toBe(1);
    expect(second.stderr).toContain('1 page of m was not written (offset+length 16384+4096)');
    expect(second.stderr.trim().split('\n')).toHaveLength(1);
  });

  it('syncs when its terminal goes, though it is told twice', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    await serve.run(['write', 'm'], { input: 'kept' });
    serve.child.kill('SIGHUP');
    expect(await serve.end('SIGHUP')).toBe(0);
    expect((await independentView(file)).toString('latin1', 0, 4)).toBe('kept');
  });

  it('ends with 130 when it is interrupted, having synced', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    await serve.run(['write', 'm'], { input: 'kept' });
    expect(await serve.end('SIGINT')).toBe(130);
    expect(serve.stderr).toMatch(/^syncing 1 page.*\n\{"code":"ERR_ABORTED","message":"ended; all/);
    expect((await independentView(file)).toString('latin1', 0, 4)).toBe('kept');
  });
});

describe('exit codes and errors', () => {
  it.each([
    [['stat'], 2, 'ERR_ARGUMENT'],
    [['nonsense'], 2, 'ERR_ARGUMENT'],
    [['read', 'x', '--length', '4kB'], 2, 'ERR_ARGUMENT'],
    [['read', 'x', '--length', '-1'], 2, 'ERR_ARGUMENT'],
    [['read', 'x', '--timeout', 'soon'], 2, 'ERR_ARGUMENT'],
    [['rm', 'x', '--sync', '--discard'], 2, 'ERR_ARGUMENT'],
    [['stat', 'x', '--appliance', 'ftp://x'], 2, 'ERR_ARGUMENT'],
    [['stat', 'x', '--appliance', 'farpage+unix:/nowhere/s'], 3, 'ERR_NO_APPLIANCE'],
    [['read', 'x', '--appliance', 'farpage+unix:/nowhere/s'], 3, 'ERR_NO_APPLIANCE'],
    [['stat', 'x', '--appliance', 'farpage://127.0.0.1:1'], 3, 'ERR_NO_APPLIANCE'],
    [['serve', '/nowhere/at/all', '--state', '/tmp/fp-none'], 1, 'ERR_FILE_NOT_FOUND'],
  ])('%j ends with %i', async (words, code, name) => {
    const folder = scratch();
    const env = { XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder };
    const told = words.map((word) => word.replace('/tmp/fp-none', join(folder, 'state')));
    const run = await farpage(told, { env });
    expect([run.code, run.stdout.toString()]).toEqual([code, '']);
    expect(run.stderr.trim().split('\n')).toHaveLength(1);
    expect(run.stderr).toContain(`[${name}]`);
    const json = await farpage([...told, '--json'], { env });
    expect(json.code).toBe(code);
    expect(JSON.parse(json.stderr)).toEqual({ code: name, message: expect.any(String) });
  });

  it('prints help and version and ends with 0', async () => {
    const help = await farpage(['--help']);
    const names = 'serve regions create export stat read write flush sync reclaim rm doctor demo';
    for (const name of names.split(' ')) expect(help.stdout.toString()).toContain(`\n  ${name}`);
    expect(help.code).toBe(0);
    expect((await farpage(['read', '--help'])).stdout.toString()).toContain('--offset <size>');
    const version = await farpage(['--version']);
    expect([version.code, version.stdout.toString()]).toEqual([0, expect.stringMatching(/^\d+\./)]);
  });
});
