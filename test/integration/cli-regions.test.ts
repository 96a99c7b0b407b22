import { spawnSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Exported, RegionStat, RestartReceipt } from '../../src/control/schema.js';
import { QueuePair } from '../../src/fabric/queue-pair.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

describe('regions on the command line', () => {
  it('are created, listed, read as they were filled, and removed', async () => {
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    await serve.json(['create', 'ones', '--size', '1TiB', '--fill', 'one']);
    const made = join(folder, 'made');
    await serve.json(['create', 'made', '--file', made, '--size', '64K', '--make']);
    expect(statSync(made).size).toBe(65_536);
    const listed = await serve.run(['regions', '--json']);
    const regions = listed.stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(regions.map(({ name }: RegionStat) => name)).toEqual(['made', 'ones']);
    const table = (await serve.run(['regions'])).stdout.toString();
    expect(table).toMatch(/^region\s+kind\s+access\s+size/);
    expect(table).toMatch(/\nones\s+anonymous\s+read-write\s+1 TiB/);
    const read = await serve.run(['read', 'ones', '--offset', '512G', '--length', '3']);
    expect([...read.stdout]).toEqual([255, 255, 255]);
    const both = await serve.run(['sync', 'made', 'ones', '--json']);
    expect(both.stdout.toString().trim().split('\n')).toHaveLength(2);
    expect(await serve.json(['rm', 'ones'])).toEqual({ region: 'ones', removed: true });
    await serve.run(['write', 'made'], { input: 'x' });
    const refused = await serve.run(['rm', 'made']);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('REGION_DIRTY')]);
    expect((await serve.run(['rm', 'made', '--discard'])).code).toBe(0);
    expect(existsSync(made)).toBe(true);
    const none = await serve.run(['regions']);
    expect([none.stdout.toString(), none.stderr]).toEqual([
      '',
      expect.stringMatching(/^there are no regions; .*\n$/),
    ]);
  });

  it('are removed though others named with them cannot be, and each of those is told', async () => {
    const serve = await ServeProcess.start(scratch());
    for (const name of ['a', 'b', 'c']) await serve.json(['create', name, '--size', '64K']);
    await serve.run(['write', 'b'], { input: 'x' });
    const run = await serve.run(['rm', 'a', 'nope', 'b', 'c']);
    expect(run.code).toBe(1);
    expect(run.stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/: nope \[ERR_NO_SUCH_REGION\]$/),
      expect.stringMatching(/: b .*\[ERR_REGION_DIRTY\]$/),
    ]);
    const left = (await serve.run(['regions', '--json'])).stdout.toString().trim().split('\n');
    expect(left.map((line) => (JSON.parse(line) as RegionStat).name)).toEqual(['b']);
    // What is wrong with the command itself is found before anything is removed.
    const wrong = await serve.run(['rm', 'b', '--discard', 'farpage://127.0.0.1']);
    expect([wrong.code, (await serve.run(['stat', 'b'])).code]).toEqual([2, 0]);
  });

  it('are reclaimed in a batch, where they are clean, and read as before', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 32 * 4096 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const before = (await serve.run(['read', 'r'])).stdout;
    await serve.run(['write', 'r', '--offset', '8192'], { input: before.subarray(8192, 8200) });
    const range = ['--offset', '4096', '--length', '8K'];
    const part = await serve.json(['reclaim', 'r', ...range]);
    expect(part).toMatchObject({ region: 'r', pagesReclaimed: 1, pagesDirty: 1 });
    const rest = (await serve.run(['reclaim', 'r'])).stdout.toString();
    expect(rest).toMatch(/^r: 30 pages, 120 KiB, [\d.]+ ms, 1 dirty ones stay\n$/);
    const { pages } = await serve.json<RegionStat>(['stat', 'r']);
    expect(pages).toMatchObject({ present: 1, dirty: 1 });
    expect(Buffer.compare((await serve.run(['read', 'r'])).stdout, before)).toBe(0);
    const wrong = await serve.run(['reclaim', 'r', '--offset', '1G']);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('ERR_RANGE')]);
  });

  it('come back after kill -9, on the same socket', async () => {
    const folder = scratch();
    const first = await ServeProcess.start(folder);
    await first.json(['create', 'kept', '--size', '8K']);
    await first.end('SIGKILL');
    expect(statSync(join(folder, 's')).isSocket()).toBe(true);
    const second = await ServeProcess.start(folder);
    expect(second.ready.regions).toEqual(['kept']);
    const third = await farpage(['serve', '--socket', join(folder, 's'), '--state', `${folder}/t`]);
    expect([third.code, third.stderr]).toEqual([1, expect.stringContaining('APPLIANCE_RUNNING')]);
    expect((await second.run(['stat', 'kept'])).code).toBe(0);
  });

  it('are exported to a port of their own, and no longer', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    // Who reaches the port shows no ticket: without a word it may read only.
    const exported = await serve.json<Exported>(['export', 'r']);
    const { port, host, stag } = exported;
    expect(exported).toMatchObject({ region: 'r', host: '127.0.0.1', access: 'read-only' });
    const pair = await QueuePair.connect({ host, port });
    // All that it takes to use the port.
    const bytes = await pair.read({ stag, offset: 4096, length: exported.size - 4096 });
    expect(Buffer.compare(bytes, patternOf(8192).subarray(4096))).toBe(0);
    pair.close();
    expect(await serve.json(['exports'])).toEqual(exported);
    expect(await serve.json(['exports', 'r'])).toEqual(exported);
    const table = (await serve.run(['exports'])).stdout.toString();
    expect(table).toMatch(
      new RegExp(
        `^region +host +port +access +stag +size\nr +${host} +${port} +read-only +0x.* +8 KiB\n$`,
      ),
    );
    expect(await serve.json(['stat', 'r'])).toMatchObject({ exports: [exported] });
    const stat = (await serve.run(['stat', 'r'])).stdout.toString();
    expect(stat).toMatch(new RegExp(`\nexports +127\\.0\\.0\\.1:${port}, read-only\n`));
    await serve.json(['export', 'r', '--stop', '--port', String(port)]);
    expect((await serve.run(['exports', '--json'])).stdout.toString()).toBe('');
    expect((await serve.run(['exports'])).stderr).toMatch(/^there are no exports; .*\n$/);
    const closed = QueuePair.connect({ host, port });
    expect(await codeOf(() => closed)).toBe('ERR_CONNECTION');
    await expect(closed).rejects.toThrow(`: ${host}:${port}: connect: `);
    const again = await serve.run(['export', 'r', '--stop', '--port', String(port)]);
    expect(again.code).toBe(2);
  });

  it('can be named with their appliance in one URL, over TCP with a token', async () => {
    const folder = scratch();
    const token = join(folder, 'token');
    writeFileSync(token, 'long-enough-to-be-a-token\n');
    const file = patternFile(folder, { length: 8192 });
    const doors = ['--listen', '127.0.0.1:0', '--token-file', token];
    const serve = await ServeProcess.start(folder, [`r=${file}`, ...doors]);
    const url = `${serve.ready.tcp}/r`;
    const refused = await farpage(['stat', url]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[ERR_TOKEN]')]);
    const read = ['read', url, '--length', '10'];
    expect((await farpage([...read, '--token-file', token])).stdout).toHaveLength(10);
    const env = { FARPAGE_TOKEN: 'long-enough-to-be-a-token' };
    expect((await farpage(read, { env })).stdout).toHaveLength(10);
    expect((await farpage(['stat', serve.ready.tcp ?? '', '--json'], { env })).code).toBe(2);
  });
});

describe('stat', () => {
  it('prints a table and a picture of the pages', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 40 * 4096 });
    const serve = await ServeProcess.start(folder, [`r=${file}`, '--read-ahead', '0']);
    await serve.run(['read', 'r', '--offset', '4K', '--length', '1']);
    await serve.run(['write', 'r', '--offset', '12K'], { input: 'x' });
    const text = (await serve.run(['stat', 'r'])).stdout.toString();
    expect(text).toMatch(/^region\s+r\n/);
    expect(text).toMatch(/present\s+2, 1 dirty, 1 ever written\n/);
    expect(text).toContain(`[.R.W${'.'.repeat(36)}]`);
    expect(text).toContain('W written  R read  . absent');
  });
});

describe('pages of a mapped file', () => {
  it('are told as the file they come from, though the kernel reads them', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    expect((await serve.run(['read', 'r'])).code).toBe(0);
    const stat = (await serve.run(['stat', 'r'])).stdout.toString();
    expect(stat).toMatch(/\nfilled +2 pages, 8 KiB, mapped from the file\n/);
    const receipt = await serve.json<RestartReceipt>(['receipt', 'r']);
    expect(receipt).toMatchObject({ restored: 2, filled: 0 });
  });
});

describe('doctor', () => {
  it('tells what there is and what each lack costs', async () => {
    const { code, stdout } = await farpage(['doctor', '--json']);
    expect(code).toBe(0);
    const findings = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const shm = findings.find(({ what }: { what: string }) => what === '/dev/shm');
    expect(shm.costs).toMatch(/`--memory-dir`.* after a crash nothing is left/);
    const names = findings.map(({ what }: { what: string }) => what);
    const expected = [
      'kernel',
      'native addon',
      'userfaultfd',
      'locked memory',
      '/dev/shm',
      'spill file',
    ];
    for (const name of [...expected, 'overcommit']) {
      expect(names).toContain(name);
    }
    for (const { verdict, costs } of findings) {
      expect(['good', 'lacking']).toContain(verdict);
      if (verdict === 'lacking') expect(costs).not.toBe('');
      expect(costs).not.toContain('nothing yet');
    }
    expect((await farpage(['doctor'])).stdout.toString()).toMatch(/ok\s+kernel\s+Linux/);
  });

  it.runIf(process.getuid?.() === 0)('says that the state directory cannot be made', async () => {
    const env = { HOME: '/nowhere', XDG_STATE_HOME: '' };
    const { stdout } = await farpage(['doctor'], { env, uid: 65_534 });
    const why =
      'the state directory /nowhere/.local/state/farpage cannot be used: permission denied';
    expect(stdout.toString()).toContain(why);
  });
});

describe('demo', () => {
  it('does the main job on a real file and compares it', async () => {
    const { code, stdout, stderr } = await farpage(['demo', '--json']);
    expect([code, stderr]).toEqual([0, '']);
    const figures = JSON.parse(stdout.toString());
    expect(figures.fileBytes).toBe(statSync(process.execPath).size);
    expect(figures.initialisedBytes).toBeGreaterThanOrEqual(figures.readBytes);
    expect(figures.initialisedBytes).toBeLessThan(figures.fileBytes / 10);
    expect(figures.flushedBytes).toBe(figures.flushedPages * 4096);
    expect(figures.map).toMatch(/^[.rRWs]{76}$/);
    for (const letter of '.rsW') expect(figures.map).toContain(letter);
  });

  it('leaves nothing behind', async () => {
    const folder = scratch();
    expect((await farpage(['demo'], { env: { TMPDIR: folder } })).code).toBe(0);
    expect(spawnSync('ls', ['-A', folder]).stdout.toString()).toBe('');
  });
});
