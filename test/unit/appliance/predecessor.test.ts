import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { Predecessor } from '../../../src/appliance/predecessor.js';
import { scratch } from '../../helpers/scratch.js';

/** A process that does nothing, and the mark that it would have left if it were an appliance. */
async function markedProcess(folder: string, options: { started?: string } = {}) {
  const child: ChildProcess = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  await once(child, 'spawn');
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(join(folder, 'running'), `${child.pid} ${options.started ?? started}\n`);
  return child;
}

/** Whether a promise has settled by now, some turns of the event loop later. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(50).then(() => false)]);
}

it('waits for a process that still lives, and tells that it did not end well', async () => {
  const folder = scratch();
  const child = await markedProcess(folder);
  const waiting = Predecessor.await(folder);
  expect(await isSettled(waiting)).toBe(false);
  // Its mark stays its own while it may still hold its locks.
  expect(readFileSync(join(folder, 'running'), 'utf8')).toMatch(new RegExp(`^${child.pid} `));
  child.kill('SIGKILL');
  const found = await waiting;
  expect(found.unclean).toBe(true);
  expect(readFileSync(join(folder, 'running'), 'utf8')).toMatch(new RegExp(`^${process.pid} `));
  found.end();
  expect(existsSync(join(folder, 'running'))).toBe(false);
});

it('does not wait for another process that has the number now', async () => {
  const folder = scratch();
  await markedProcess(folder, { started: '1' });
  const waiting = Predecessor.await(folder, 60_000);
  expect((await waiting).unclean).toBe(true);
});

it('waits for a bounded time only', async () => {
  const folder = scratch();
  await markedProcess(folder);
  expect((await Predecessor.await(folder, 20)).unclean).toBe(true);
});

it.each(['', 'garbage', '-1 5', '1'])(
  'takes a mark that says "%s" for an unclean end',
  async (text) => {
    const folder = scratch();
    writeFileSync(join(folder, 'running'), text);
    expect((await Predecessor.await(folder)).unclean).toBe(true);
  },
);

it('finds nobody in a new directory', async () => {
  expect((await Predecessor.await(scratch())).unclean).toBe(false);
});
