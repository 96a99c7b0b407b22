import { mkdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { memoryFolder } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

it('is refused on a state directory that another one has, by whatever path', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'r', '--size', '1MiB', '--persist']);
  symlinkSync(join(folder, 'state'), join(folder, 'alias'));
  for (const path of ['state', 'alias']) {
    const words = ['--socket', join(folder, 'other'), '--state', join(folder, path)];
    const second = await farpage(['serve', ...words]);
    expect([second.code, second.stderr]).toEqual([
      1,
      expect.stringMatching(/^farpage: another appliance holds .*\[ERR_LOCKED_STATE\]\n$/),
    ]);
  }
  // The same command twice names the socket, which its user knows.
  const same = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const twice = await farpage(['serve', ...same]);
  expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining('ERR_APPLIANCE_RUNNING')]);
  expect(await first.json(['stat', 'r'])).toMatchObject({ name: 'r' });
});

it('is refused on a memory directory that another has, and may have it afterwards', async () => {
  const [one, two] = [scratch(), scratch()];
  const memory = memoryFolder();
  const first = await ServeProcess.start(one, ['--memory-dir', memory]);
  symlinkSync(memory, join(two, 'alias'));
  for (const path of [memory, join(two, 'alias')]) {
    const words = ['--socket', join(two, 's'), '--state', join(two, 'state'), '--memory-dir', path];
    const second = await farpage(['serve', ...words]);
    expect([second.code, second.stderr]).toEqual([1, expect.stringContaining('ERR_LOCKED_STATE')]);
    expect(second.stderr).toContain(memory);
  }
  await first.end('SIGKILL');
  // The kernel gives both back, however the first one ended.
  await ServeProcess.start(two, ['--memory-dir', memory]);
  await ServeProcess.start(one);
});

it('is not refused on a new folder where that of a running one was deleted', async () => {
  const folder = scratch();
  const state = join(folder, 'state');
  await ServeProcess.start(folder);
  const { ino } = statSync(state);
  rmSync(state, { recursive: true });
  // File systems give the inode of what was deleted to what is made next.
  for (let n = 0; n < 50; n += 1) {
    mkdirSync(join(folder, `new-${n}`));
    expect(statSync(join(folder, `new-${n}`)).ino).not.toBe(ino);
  }
  mkdirSync(state);
  expect(statSync(state).ino).not.toBe(ino);
  const second = await ServeProcess.start(folder, ['--socket', join(folder, 'other')]);
  expect(await second.json(['create', 'r', '--size', '1MiB'])).toMatchObject({ name: 'r' });
});
