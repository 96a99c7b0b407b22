import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const hasScript = spawnSync('script', ['--version']).status === 0;

/** Runs a command line whose stdout and stderr are a terminal (script(1)); what it showed. */
async function onTerminal(words: string, env: NodeJS.ProcessEnv, columns = 80) {
  const command = `stty cols ${columns}; exec ${process.execPath} ${MAIN} ${words}`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...process.env, ...env },
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
  });
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

const isPicture = (line: string) => /^\[.*\]$/.test(line);

describe('on a terminal', () => {
  it('bytes are shown only when their number was given', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const folder = scratch();
    const serve = await ServeProcess.start(folder, [`m=${patternFile(folder, { length: 8192 })}`]);
    const env = { FARPAGE_URL: serve.ready.control };
    await serve.run(['write', 'm'], { input: 'shown' });
    const refused = await onTerminal('read m', env);
    expect([refused.code, refused.text]).toEqual([2, expect.stringContaining('[ERR_ARGUMENT]')]);
    expect(await onTerminal('read m --length 5', env)).toEqual({ code: 0, text: 'shown' });
  });

  it('what takes long shows a bar, and nothing of it elsewhere', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const folder = scratch();
    const file = patternFile(folder, { length: 64 * 2 ** 20 });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    const env = { FARPAGE_URL: serve.ready.control };
    const words = ['read', 'm', '--output', '/dev/null'];
    const shown = await onTerminal(words.join(' '), env);
    expect(shown.text).toMatch(/\[[#.]+\] \d+% of 64 MiB/);
    const plain = await serve.run(words);
    expect([plain.code, plain.stdout.toString(), plain.stderr]).toEqual([0, '', '']);
  });
});

describe('a narrow terminal', () => {
  const words = ['stat m', 'tiers', 'doctor', 'regions', 'exports', 'provenance m'];

  it('has pictures and tables that fit', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const folder = scratch();
    const tiers = ['--tier', `file:${folder}:1MiB`];
    const file = `m=${patternFile(folder, { length: 2 ** 20 })}`;
    const serve = await ServeProcess.start(folder, [file, ...tiers]);
    const env = { FARPAGE_URL: serve.ready.control };
    await serve.run(['export', 'm', '--port', '0']);
    for (const each of words) {
      const { code, text } = await onTerminal(each, env, 40);
      // What stands below a table is prose, which may be of any length.
      const [table = ''] = text.split('\r\n\r\n');
      const lines = table.split('\r\n');
      expect([each, code, lines.length >= 2]).toEqual([each, 0, true]);
      expect([each, lines.filter((line) => line.length > 40)]).toEqual([each, []]);
    }
    const picture = (await onTerminal('stat m', env, 40)).text.split('\r\n').find(isPicture);
    expect(picture).toHaveLength(40);
    expect((await onTerminal('stat m', env, 100)).text.split('\r\n').find(isPicture)).toHaveLength(
      100,
    );
    const plain = (await serve.run(['stat', 'm'])).stdout.toString().split('\n').find(isPicture);
    expect(plain).toHaveLength(78);
  });

  it('that moves no cursor gets one sample of top', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const { url } = await serveAppliance();
    const env = { FARPAGE_URL: url, TERM: 'dumb' };
    const { code, text } = await onTerminal('top --interval 100ms', env);
    expect([code, text]).toEqual([0, expect.stringContaining('memory ')]);
    expect(text).not.toContain('\x1b');
  });
});

describe('an interrupt', () => {
  it('ends a command with 130 and one line', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 4096 });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    const env = { ...process.env, FARPAGE_URL: serve.ready.control };
    // Nothing comes from this stdin, so that it waits until it is told to end.
    const child = spawn(process.execPath, [MAIN, 'write', 'm'], { env });
    let stderr = '';
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString();
    });
    await sleep(800);
    child.kill('SIGINT');
    const [code] = (await once(child, 'close')) as [number];
    expect([code, stderr]).toEqual([130, expect.stringContaining('[ERR_ABORTED]')]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  it('of who waits for a prefetch says that it goes on, and what ends it', async () => {
    const { appliance, url, control } = await serveAppliance();
    const source = { fill: () => new Promise<void>(() => {}), timeoutMs: 120_000 };
    await appliance.create({ name: 'silent', size: 4096, source });
    const env = { ...process.env, FARPAGE_URL: url };
    const child = spawn(process.execPath, [MAIN, 'prefetch', 'silent', '--wait'], { env });
    const params = { region: 'silent' };
    const states = async () =>
      (await control.call('prefetches', { params })).prefetches.map(({ state }) => state);
    while ((await states()).length === 0) await sleep(20);
    const ended = once(child, 'close');
    child.kill('SIGINT');
    const stderr = await textOf(child.stderr);
    expect([await ended, stderr]).toEqual([
      [130, null],
      expect.stringMatching(/^farpage: .*`farpage prefetch silent --cancel`.*\[ERR_ABORTED\]\n$/),
    ]);
    expect(await states()).toEqual(['running']);
  });
});
