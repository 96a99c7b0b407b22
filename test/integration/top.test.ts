import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Sample } from '../../src/cli/top/sample.js';
import { connectClient } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const hasScript = spawnSync('script', ['--version']).status === 0;
const POLL = { timeout: 20_000 };
const FAST = ['--interval', '200ms'];

async function serveBusy() {
  const folder = scratch();
  const file = patternFile(folder, { length: 2 ** 20 });
  const serve = await ServeProcess.start(folder, [`m=${file}`, '--tier', 'compressed:1MiB']);
  const client = await connectClient(serve.ready.control);
  const region = await client.attach('m');
  // As long as the test lasts.
  let busy = true;
  const work = (async () => {
    // Without an appliance a failure comes at once.
    while (busy) await region.read(0, 4096).catch(() => sleep(20));
  })();
  onTestFinished(async () => {
    busy = false;
    await work;
  });
  return { serve, region, env: { ...process.env, FARPAGE_URL: serve.ready.control }, folder };
}

/** `farpage top` on a terminal of 40 rows and 150 columns, and what it showed so far. */
function onTerminal(env: NodeJS.ProcessEnv, words = FAST) {
  const tty = 'stty rows 40 cols 150';
  const top = `${process.execPath} ${MAIN} top ${words.join(' ')}`;
  const command = `${tty}; ${top}; echo "ended $?"; stty -a`;
  const child = spawn('script', ['-qc', command, '/dev/null'], { env });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const shown = { text: '' };
  child.stdout.on('data', (bytes: Buffer) => {
    shown.text += bytes.toString();
  });
  return { child, shown };
}

/** The process of `top` below script(1) and its shell. */
function topBelow(child: ChildProcessWithoutNullStreams): number {
  const found = spawnSync('ps', ['-e', '-o', 'pid=,ppid=,args=']).stdout.toString().split('\n');
  const rows = found.map((line) => line.trim().split(/\s+/));
  const below = (pid: string): string[] =>
    rows.filter(([, parent]) => parent === pid).flatMap(([own = '']) => [own, ...below(own)]);
  const all = below(String(child.pid));
  const pid = rows.find(([own = '', , program]) => all.includes(own) && program?.endsWith('node'));
  return Number(pid?.[0]);
}

const ALTERNATIVE = '\u001B[?1049h';
const NORMAL = '\u001B[?1049l';
const CURSOR = '\u001B[?25h';

/** The terminal is as it was: the other screen left, the cursor shown, lines and echo on. */
function expectRestored(text: string): void {
  expect(text.split(ALTERNATIVE)).toHaveLength(2);
  expect(text.lastIndexOf(NORMAL)).toBeGreaterThan(text.lastIndexOf(ALTERNATIVE));
  expect(text.lastIndexOf(CURSOR)).toBeGreaterThan(text.indexOf(ALTERNATIVE));
  const after = text.slice(text.lastIndexOf(NORMAL));
  expect(after).toMatch(/[^-]icanon/);
  expect(after).toMatch(/[^-]echo\b/);
}

describe('samples', () => {
  it('of one interval, as JSON and as text', async () => {
    const { serve, region } = await serveBusy();
    await region.write(8192, Buffer.alloc(4096, 1));
    await region.sync();
    await region.write(8192, Buffer.alloc(4096, 2));
    // On a busy machine an interval may pass in which nothing was read.
    const taken: Sample[] = [];
    const operations = async () => {
      taken.unshift(await serve.json<Sample>(['top', '--once', ...FAST]));
      return taken[0]?.regions[0]?.rates.operations;
    };
    await expect.poll(operations, POLL).toBeGreaterThan(0);
    const [sample] = taken;
    const one = sample?.regions[0];
    expect(one).toMatchObject({ name: 'm', size: 2 ** 20, pages: { dirty: 1, total: 256 } });
    expect(one?.rates.bytes).toBeGreaterThan(0);
    expect(one?.rates.hitRatio).toBeGreaterThan(0.9);
    expect(one?.syncAgeMs).toBeGreaterThan(0);
    expect(sample?.elapsedMs).toBeGreaterThanOrEqual(200);
    expect(sample?.tiers).toMatchObject([{ kind: 'compressed' }]);
    // Where there is no terminal it is one sample, too.
    const plain = await serve.run(['top', ...FAST]);
    expect([plain.code, plain.stderr]).toEqual([0, '']);
    expect(plain.stdout.toString()).toMatch(/^memory .* dirty, .* op\/s/);
    expect(plain.stdout.toString()).toMatch(/\n +m +1 MiB/);
    expect(plain.stdout.toString()).not.toContain('\u001B');
  });

  it('one a line, also while the appliance is away, until nobody reads them', async () => {
    const { serve, env, folder } = await serveBusy();
    const child = spawn(process.execPath, [MAIN, 'top', '--json', ...FAST], { env });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () =>
      JSON.parse((await lines.next()).value as string) as Sample & { error?: { code: string } };
    let sample = await next();
    while (!((sample.regions[0]?.rates.operations ?? 0) > 0)) sample = await next();
    await serve.end('SIGKILL');
    while (sample.error === undefined) sample = await next();
    expect(sample.error.code).toMatch(/^ERR_(NO_APPLIANCE|CONNECTION)$/);
    await ServeProcess.start(folder);
    while (sample.error !== undefined) sample = await next();
    expect(sample.elapsedMs).toBeNull();
    const ended = once(child, 'close');
    child.stdout.destroy();
    expect((await ended)[0]).toBe(0);
  }, 60_000);

  it('are refused without an appliance, and too often', async () => {
    const env = { FARPAGE_URL: `farpage+unix:${scratch()}/nobody` };
    expect((await farpage(['top'], { env })).code).toBe(3);
    const often = await farpage(['top', '--interval', '10ms'], { env });
    expect([often.code, often.stderr]).toEqual([2, expect.stringContaining('100 ms at least')]);
  });
});

describe('on a terminal', () => {
  it('is live: keys choose and sort, the picture is of the chosen region', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const { serve, env } = await serveBusy();
    await serve.json(['create', 'other', '--size', '1TiB']);
    const { child, shown } = onTerminal(env);
    await expect.poll(() => shown.text, POLL).toContain('pages of m');
    expect(shown.text).toContain(ALTERNATIVE);
    await expect.poll(() => shown.text, POLL).toMatch(/\d op\/s, .* KiB\/s|MiB\/s/);
    child.stdin.write('\u001B[B');
    await expect.poll(() => shown.text, POLL).toContain('pages of other');
    child.stdin.write('s');
    await expect.poll(() => shown.text, POLL).toContain('sort (bytes)');
    child.stdin.write('q');
    await once(child, 'close');
    expect(shown.text).toContain('ended 0');
    expectRestored(shown.text);
  }, 60_000);

  it('says when the appliance is away, and goes on when it is back', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const { serve, env, folder } = await serveBusy();
    const { child, shown } = onTerminal(env);
    await expect.poll(() => shown.text, POLL).toContain('pages of m');
    await serve.end('SIGKILL');
    await expect.poll(() => shown.text, POLL).toContain('no figures since');
    await ServeProcess.start(folder);
    await await ServeProcess.prototype.json.call(serve, ['create', 'fresh', '--size', '1MiB']);
    await expect.poll(() => shown.text, POLL).toContain('pages of fresh');
    // Control-C, as a terminal in raw mode hands it on.
    child.stdin.write('\u0003');
    await once(child, 'close');
    expect(shown.text).toContain('ended 130');
    expectRestored(shown.text);
  }, 60_000);

  it.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
    'gives it back at %s',
    async (signal) => {
      if (!hasScript) return;
      const { env } = await serveBusy();
      const { child, shown } = onTerminal(env);
      await expect.poll(() => shown.text, POLL).toContain('pages of m');
      process.kill(topBelow(child), signal);
      await once(child, 'close');
      const code = { SIGTERM: 143, SIGHUP: 129, SIGINT: 130 }[signal];
      expect(shown.text).toContain(`ended ${code}`);
      expectRestored(shown.text);
    },
    60_000,
  );

  it('is drawn anew when the terminal has another size', async (context) => {
    if (!hasScript) return context.skip('there is no script(1)');
    const { env } = await serveBusy();
    const { child, shown } = onTerminal(env);
    await expect.poll(() => shown.text, POLL).toContain('pages of m');
    const pid = topBelow(child);
    const tty = spawnSync('readlink', [`/proc/${pid}/fd/1`])
      .stdout.toString()
      .trim();
    shown.text = '';
    expect(spawnSync('stty', ['-F', tty, 'rows', '20', 'cols', '60']).status).toBe(0);
    // A frame that was begun before may still come.
    const width = () => shown.text.match(/\[[.RrWst!]+\]/g)?.at(-1)?.length ?? 150;
    await expect.poll(width, POLL).toBeLessThanOrEqual(60);
    child.stdin.write('q');
    await once(child, 'close');
  }, 60_000);
});
