/** What `farpage write` takes its bytes from, beside files. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { serveAppliance } from '../helpers/appliance.js';
import { farpage } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const LENGTH = 3 * 2 ** 20 + 77;

function makePipe(): string {
  const path = join(scratch(), 'pipe');
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  return path;
}

async function serve() {
  const { appliance, url } = await serveAppliance();
  await appliance.create({ name: 'r', size: 4 * 2 ** 20 });
  const env = { FARPAGE_URL: url };
  const write = (path: string): ChildProcess => {
    const words = [MAIN, 'write', 'r', '--input', path];
    const child = spawn(process.execPath, words, { env: { ...process.env, ...env } });
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  };
  const read = async (length: number) => {
    return (await farpage(['read', 'r', '--length', `${length}`], { env })).stdout;
  };
  return { env, write, read };
}

/** Exit code and stderr. */
async function endOf(child: ChildProcess) {
  const ended = once(child, 'close');
  const said = await textOf(child.stderr!);
  return [((await ended) as [number | null])[0], said];
}

/** A descriptor for writing, once somebody has opened the pipe to read. */
async function readerOf(path: string): Promise<number> {
  for (;;) {
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    }
    await sleep(20);
  }
}

describe('write --input', () => {
  it('takes the bytes of a pipe that has a name, to their end', async () => {
    const { write, read } = await serve();
    const path = makePipe();
    const ended = endOf(write(path));
    await writeFile(path, patternOf(LENGTH));
    expect(await ended).toEqual([0, '']);
    expect(Buffer.compare(await read(LENGTH), patternOf(LENGTH))).toBe(0);
  });

  it('takes those of stdin by its name', async () => {
    const { env, read } = await serve();
    const words = ['write', 'r', '--input', '/dev/stdin'];
    expect(await farpage(words, { env, input: patternOf(5000) })).toMatchObject({ code: 0 });
    expect(Buffer.compare(await read(5000), patternOf(5000))).toBe(0);
  });

  it('ends when it is told to, before anybody opens the pipe and behind a piece', async () => {
    const { write } = await serve();
    const path = makePipe();
    const aborted = [130, expect.stringMatching(/^farpage: [^\n]*\[ERR_ABORTED\]\n$/)];
    const waiting = write(path);
    const opened = endOf(waiting);
    await sleep(800);
    waiting.kill('SIGINT');
    expect(await opened).toEqual(aborted);
    const idle = write(path);
    const ended = endOf(idle);
    const fd = await readerOf(path);
    writeSync(fd, 'one piece');
    await sleep(300);
    idle.kill('SIGINT');
    expect(await ended).toEqual(aborted);
    closeSync(fd);
  });

  it('refuses a directory, and what never ends', async () => {
    const { write } = await serve();
    expect(await endOf(write('/'))).toEqual([1, expect.stringContaining('[ERR_FILE_KIND]')]);
    expect(await endOf(write('/dev/zero'))).toEqual([1, expect.stringContaining('[ERR_RANGE]')]);
    const gone = join(scratch(), 'gone');
    expect(await endOf(write(gone))).toEqual([1, expect.stringContaining('ERR_FILE_NOT_FOUND')]);
  });
});

it('a region that is named twice is written once, and told so', async () => {
  const { appliance, url, folder } = await serveAppliance();
  const env = { FARPAGE_URL: url };
  for (const [name, atomic] of [
    ['a', true],
    ['b', false],
  ] as const) {
    await appliance.create({ name, file: patternFile(folder, { length: 8192, name }), atomic });
    await farpage(['write', name], { env, input: patternOf(8192, 3) });
  }
  const { code, stdout } = await farpage(['sync', 'a', 'b', 'b', 'a', '--json'], { env });
  const lines = stdout.toString().trim().split('\n');
  const told = lines.map((line) => JSON.parse(line) as { region: string; pagesWritten: number });
  expect([code, told.map(({ region, pagesWritten }) => [region, pagesWritten])]).toEqual([
    0,
    [
      ['a', 2],
      ['b', 2],
      ['b', 0],
      ['a', 0],
    ],
  ]);
});

it('a region is of one appliance, whichever way it is named', async () => {
  const { appliance, url, folder } = await serveAppliance();
  await appliance.create({ name: 'r', size: 4096 });
  const region = `${url}?region=r`;
  expect((await farpage(['stat', region, '--appliance', url])).code).toBe(0);
  const other = `farpage+unix:${join(folder, 'other')}`;
  const { code, stderr } = await farpage(['stat', region, '--appliance', other]);
  expect([code, stderr]).toEqual([2, expect.stringContaining('is not of the appliance')]);
});
