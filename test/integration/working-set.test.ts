import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ControlClient } from '../../src/control/http-client.js';
import type { RegionStat, StartReport, WorkingSetReply } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const LENGTH = 8 * 2 ** 20;
const POLL = { timeout: 20_000 };
/** Pages that are used, far enough from each other for no read-ahead. */
const USED = [3, 700, 40, 1200, 41];

const setFile = (folder: string) => {
  const regions = join(folder, 'state', 'regions');
  const [name = 'none'] = readdirSync(regions).filter((file) => file.endsWith('.set'));
  return join(regions, name);
};

async function use(serve: ServeProcess): Promise<void> {
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  for (const page of USED) await region.read(page * PAGE, 8);
}

/** Waits until the replay has ended; how many pages are present then. */
async function replayed(serve: ServeProcess): Promise<number> {
  const look = async () => await serve.json<WorkingSetReply>(['working-set', 'notes']);
  await expect.poll(async () => (await look()).replay?.state, POLL).toBe('done');
  return (await serve.json<RegionStat>(['stat', 'notes'])).pages.present;
}

it('brings near what was saved at every later start, and finds its bytes there', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  let serve = await ServeProcess.start(folder);
  await serve.json(['create', 'notes', '--file', file]);
  const none = await serve.json<WorkingSetReply>(['working-set', 'notes']);
  expect(none).toMatchObject({ state: 'none', pages: 0, savedAt: null });
  await use(serve);
  const saved = await serve.json<WorkingSetReply>(['working-set', 'notes', '--save']);
  expect(saved).toMatchObject({ state: 'saved', pages: 5, bytes: 5 * PAGE, runs: 4 });
  for (let start = 0; start < 2; start++) {
    await serve.end(start === 0 ? 'SIGKILL' : 'SIGTERM');
    serve = await ServeProcess.start(folder);
    // Before anybody has come to use it.
    expect(await replayed(serve)).toBe(5);
  }
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  for (const page of USED) {
    const bytes = await region.read(page * PAGE, PAGE);
    expect(Buffer.compare(bytes, patternOf(LENGTH).subarray(page * PAGE, (page + 1) * PAGE))).toBe(
      0,
    );
  }
  const { operations } = await serve.json<RegionStat>(['stat', 'notes']);
  expect(operations).toMatchObject({ bypassed: 5, faulted: 0 });
  await serve.json(['reclaim', 'notes']);
  await serve.json(['working-set', 'notes', '--replay']);
  expect(await replayed(serve)).toBe(5);
  const forgotten = await region.workingSet.forget();
  expect(forgotten).toMatchObject({ state: 'none', pages: 0 });
  expect(forgotten).not.toHaveProperty('replay');
  await serve.end();
  serve = await ServeProcess.start(folder);
  expect(await serve.json(['working-set', 'notes'])).not.toHaveProperty('replay');
  expect(await serve.json<RegionStat>(['stat', 'notes'])).toMatchObject({ state: 'idle' });
});

it('records by itself at the first start where that was asked for, until told to end', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  let serve = await ServeProcess.start(folder);
  await serve.json(['create', 'notes', '--file', file, '--working-set', '1h']);
  await use(serve);
  const line = (await serve.run(['working-set', 'notes'])).stdout.toString();
  expect(line).toMatch(/^notes: recording for (1h|\d+m|\d+s) more\n$/);
  // Cut short by its end; a crash would have left nothing, and the next start would record.
  expect(await serve.end()).toBe(0);
  serve = await ServeProcess.start(folder);
  expect(await replayed(serve)).toBe(5);
});

it('records for a time that is asked for', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder, [`notes=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('notes');
  const state = async () => {
    for (const page of USED) await region.read(page * PAGE, 8);
    const { state: now } = await region.workingSet.stat();
    // Also when this process was away for all of that time.
    if (now === 'none') await region.workingSet.record(1000);
    return now;
  };
  await expect.poll(state, POLL).toBe('saved');
  expect(await region.workingSet.stat()).toMatchObject({ pages: 5, leftMs: null });
  const other = await serve.run(['working-set', 'notes', '--save', '--forget']);
  expect(other.code).not.toBe(0);
});

it.each([
  ['torn', (path: string) => truncateSync(path, 70), /is cut off|is torn/],
  ['not one', (path: string) => writeFileSync(path, 'x'.repeat(200)), /is no working set/],
])('goes on without a set that is %s, and says so', async (_, spoil, why) => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  let serve = await ServeProcess.start(folder);
  await serve.json(['create', 'notes', '--file', file]);
  await use(serve);
  await serve.json(['working-set', 'notes', '--save']);
  await serve.end();
  spoil(setFile(folder));
  serve = await ServeProcess.start(folder);
  const reply = await fetchStart(serve);
  expect(reply.workingSets).toEqual([{ region: 'notes', problem: expect.stringMatching(why) }]);
  expect((await serve.run(['receipt'])).stdout.toString()).toMatch(why);
  await use(serve);
  const { error, state } = await serve.json<WorkingSetReply>(['working-set', 'notes']);
  expect([state, error?.code]).toEqual(['none', 'ERR_STATE_DAMAGED']);
  expect(await serve.json(['working-set', 'notes', '--save'])).toMatchObject({ pages: 5 });
  expect(await serve.json(['working-set', 'notes'])).not.toHaveProperty('error');
});

it('does not take the set of a file that has another size now', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  let serve = await ServeProcess.start(folder, [`notes=${file}`]);
  await use(serve);
  await serve.json(['working-set', 'notes', '--save']);
  const before = readFileSync(setFile(folder));
  await serve.end();
  truncateSync(file, LENGTH / 2);
  serve = await ServeProcess.start(folder, [`notes=${file}`]);
  const { workingSets } = await fetchStart(serve);
  expect(workingSets).toMatchObject([{ problem: expect.stringMatching(/of 8388608 bytes, not/) }]);
  expect(readFileSync(setFile(folder)).equals(before)).toBe(true);
});

it('has no damaged set when its appliance is killed while it saves', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  for (let round = 0; round < 4; round++) {
    const serve = await ServeProcess.start(folder, [`notes=${file}`]);
    expect((await fetchStart(serve)).workingSets).toEqual([]);
    const region = await (await connectClient(serve.ready.control)).attach('notes');
    await region.read(0, LENGTH / 2);
    const saves = (async () => {
      for (;;) await region.workingSet.save({ timeoutMs: 2000 });
    })().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 30 + 40 * round));
    await serve.end('SIGKILL');
    await saves;
  }
});

it('refuses what does not come back, and what is not there', async () => {
  const serve = await ServeProcess.start(scratch());
  await serve.json(['create', 'notes', '--size', '1MiB']);
  const run = async (...words: string[]) => (await serve.run(words)).stderr;
  expect(await run('working-set', 'notes', '--record')).toMatch(/nothing of notes comes back/);
  await serve.run(['write', 'notes'], { input: 'used' });
  expect(await run('working-set', 'notes', '--save')).toMatch(/nothing of notes comes back/);
  expect(await run('working-set', 'notes', '--replay')).toMatch(
    /no working set of notes was saved/,
  );
  expect(await run('create', 'n', '--size', '1MiB', '--working-set')).toMatch(/comes back after/);
  await serve.json(['create', 'kept', '--size', '1MiB', '--persist']);
  expect(await run('working-set', 'kept', '--save')).toMatch(/no page of kept was used/);
  expect(await run('working-set', 'kept', '--record', '1w')).toMatch(/"1w" is no age/);
});

async function fetchStart(serve: ServeProcess): Promise<StartReport> {
  const control = new ControlClient({ address: { path: serve.ready.socket } });
  onTestFinished(() => control.close());
  return await control.call('start', {});
}
