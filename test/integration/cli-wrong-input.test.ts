import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const RUN_MS_MAX = 20_000;

describe('names that no region can have', () => {
  it.each(['.', '..', '', 'a/b', 'ä'])(
    'are refused before anything is asked: "%s"',
    async (name) => {
      const folder = scratch();
      const serve = await ServeProcess.start(folder);
      for (const words of [
        ['create', name, '--size', '1M'],
        ['stat', name],
        ['rm', name],
        ['sync', name],
        ['receipt', name],
        ['export', name],
      ]) {
        if (words[0] === 'stat' && name === '') continue; // commander takes it for no name
        const { code, stderr } = await serve.run(words);
        expect([words[0], code, stderr]).toEqual([
          words[0],
          2,
          expect.stringContaining('ERR_NAME'),
        ]);
        expect(stderr.trim().split('\n')).toHaveLength(1);
      }
      const client = await connectClient(serve.ready.control);
      expect(await codeOf(() => client.allocate({ name, size: 4096 }))).toBe('ERR_NAME');
      expect(await codeOf(() => client.attach(name))).toBe('ERR_NAME');
      expect(await client.regions()).toEqual([]);
    },
  );

  it('are refused to serve', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 4096 });
    for (const name of ['..', 'ä']) {
      const { code, stderr } = await farpage(['serve', '--state', folder, `${name}=${file}`]);
      expect([code, stderr]).toEqual([2, expect.stringContaining('ERR_NAME')]);
    }
  });
});

describe('a command line', () => {
  it('that cannot print what it found says so in a line', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 64 * 4096 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    for (const words of [['regions'], ['regions', '--json'], ['read', 'r'], ['--help']]) {
      const full = openSync('/dev/full', 'w');
      const run = spawnSync(process.execPath, [MAIN, ...words], {
        env: { ...process.env, FARPAGE_URL: serve.ready.control },
        stdio: ['ignore', full, 'pipe'],
        timeout: RUN_MS_MAX,
      });
      closeSync(full);
      const lines = run.stderr.toString().trim().split('\n');
      expect([words, run.status, lines]).toEqual([words, 1, [expect.stringContaining('ENOSPC')]]);
    }
  });

  it('of mistakes says what is wrong, without a sentence for all of them', async () => {
    const { code, stderr } = await farpage(['reed']);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^farpage: unknown command 'reed'/)]);
    const help = await farpage(['help', 'reed']);
    expect([help.code, help.stderr]).toEqual([
      2,
      "farpage: unknown command 'reed' [ERR_ARGUMENT]\n",
    ]);
    const nothing = await farpage(['stat']);
    expect([nothing.code, nothing.stderr]).toEqual([
      2,
      "farpage: missing required argument 'region'; see `farpage stat --help` [ERR_ARGUMENT]\n",
    ]);
    expect((await farpage(['-V'])).stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('writes to stdout where the output is -', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 4096 });
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const { stdout } = await serve.run(['read', 'r', '--output', '-', '--timeout', '0']);
    expect(stdout).toHaveLength(4096);
    expect(readdirSync('.')).not.toContain('-');
  });
});

describe('what cannot be used', () => {
  it('is told as what it is: a source, a socket, a time', async () => {
    const folder = scratch();
    const other = join(folder, 'file');
    writeFileSync(other, 'no socket');
    const { appliance, url } = await serveAppliance({}, folder);
    const away = { name: 'a', from: 'farpage://127.0.0.1:1/copied' };
    expect(await codeOf(() => appliance.create(away))).toBe('ERR_SOURCE_AWAY');
    const taken = await farpage(['serve', '--state', join(folder, 'other'), '--socket', other]);
    expect([taken.code, taken.stderr]).toEqual([1, expect.stringContaining('is no socket')]);
    expect(taken.stderr).not.toContain('longer than');

    const client = await connectClient(url);
    const region = await client.allocate({ size: 8192 });
    for (const timeoutMs of [-1, Number.NaN]) {
      expect(await codeOf(() => region.read(0, 1, { timeoutMs }))).toBe('ERR_ARGUMENT');
      expect(await codeOf(() => region.stat({ timeoutMs }))).toBe('ERR_ARGUMENT');
    }
    const nothing = null as unknown as Uint8Array;
    expect(await codeOf(() => region.write(0, nothing))).toBe('ERR_ARGUMENT');
    const large = await client.allocate({ size: '1TiB' });
    expect(await codeOf(() => large.read(0, 2 ** 39))).toBe('ERR_ARGUMENT'); // no Buffer has it
    expect(await region.read(0, 1, { timeoutMs: 0 })).toHaveLength(1);
  });

  it.runIf(process.getuid?.() === 0)('of another user is not called away', async () => {
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    const words = ['regions', '--appliance', serve.ready.control];
    const { code, stderr } = await farpage(words, { uid: 65_534 });
    expect([code, stderr]).toEqual([1, expect.stringContaining('ERR_FILE_ACCESS')]);
  });

  it('is named for what it should be', async () => {
    const folder = scratch();
    const serve = await ServeProcess.start(folder, ['--memory', '1MiB', '--tier', 'none']);
    const from = ['create', 'n', '--from', 'nothing'];
    const state = ['--state', join(folder, 'other')];
    for (const [words, code, said] of [
      [from, 2, '"nothing" is no source; write farpage://'],
      [from, 2, 'http(s)://'],
      [['serve', 'a=', ...state], 2, '"a=" names no file'],
      [['recover', ...state], 2, `there is no state directory ${join(folder, 'other')}`],
    ] as const) {
      const run = await serve.run(words);
      expect([words, run.code, run.stderr]).toEqual([words, code, expect.stringContaining(said)]);
    }
    expect(readdirSync(folder)).not.toContain('other');
    // Of pages that nobody could bring it says no more than that.
    await serve.json(['create', 'file', '--file', patternFile(folder, { length: 2 ** 21 })]);
    await serve.json(['create', 'full', '--size', '1MiB']);
    await serve.run(['write', 'full'], { input: Buffer.alloc(2 ** 20, 1) });
    const { stdout } = await serve.run(['prefetch', 'file', '--wait']);
    expect(stdout.toString()).toMatch(/^file: \d+ pages, .* brought of 512 pages; memory is full/);
  });

  it('says what the system said of a place', async () => {
    const folder = scratch();
    const file = join(folder, 'file');
    writeFileSync(file, 'no folder');
    const state = ['--state', join(folder, 'state')];
    for (const [words, ...said] of [
      [['--state', join(file, 'state')], 'ERR_IO', 'not a directory (ENOTDIR)'],
      [['--state', file], 'ERR_IO', 'not a directory (ENOTDIR)'],
      [[...state, '--socket', join(file, 's')], 'ERR_SOCKET_PATH', '(ENOTDIR)'],
      [
        [...state, '--listen', '192.0.2.1:1'],
        '192.0.2.1:1:',
        'address not available (EADDRNOTAVAIL)',
      ],
    ] as const) {
      const { code, stderr } = await farpage(['serve', ...words]);
      expect([words, code === 0]).toEqual([words, false]);
      for (const part of said) expect(stderr).toContain(part);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
  });

  it.runIf(process.getuid?.() === 0)('of another user is named as such', async () => {
    const own = mkdtempSync(join(tmpdir(), 'farpage-own-'));
    const state = join(tmpdir(), `farpage-nobody-${process.pid}`);
    onTestFinished(() => {
      for (const folder of [own, state]) rmSync(folder, { recursive: true, force: true });
    });
    const words = ['serve', '--state', state, '--socket', join(own, 's')];
    const { code, stderr } = await farpage(words, { uid: 65_534 });
    expect([code, stderr]).toEqual([1, expect.stringContaining('permission denied (EACCES)')]);
    expect(stderr).toContain('ERR_SOCKET_PATH');
  });
});
