import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { memoryFolder, pageOf } from '../helpers/crash.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 64 * 4096;
const DIRTY = 3 * 4096;

/** The time of a file as utimes can set it: another file may be given the same one. */
const TIME = 1_700_000_000;

function rewrite(path: string, bytes: string): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0);
  closeSync(file);
}

/** What may happen to a file while nobody serves it, each showing in one thing alone. */
const CHANGES: readonly [string, (path: string) => void][] = [
  [
    'was written to',
    (path) => {
      rewrite(path, 'other');
      utimesSync(path, TIME, TIME + 1);
    },
  ],
  [
    'has grown',
    (path) => {
      appendFileSync(path, Buffer.alloc(8192));
      utimesSync(path, TIME, TIME);
    },
  ],
  [
    'was cut',
    (path) => {
      truncateSync(path, LENGTH - 8192);
      utimesSync(path, TIME, TIME);
    },
  ],
  [
    'was replaced by another of the same size and time',
    (path) => {
      writeFileSync(`${path}.new`, patternOf(LENGTH, 7));
      utimesSync(`${path}.new`, TIME, TIME);
      renameSync(`${path}.new`, path);
    },
  ],
];

/** Serves a file with one clean and one dirty page, and is killed. */
async function killedWithADirtyPage(how: 'served' | 'created') {
  const folder = scratch();
  const memory = memoryFolder();
  const file = patternFile(folder, { length: LENGTH });
  utimesSync(file, TIME, TIME);
  const words = ['--memory-dir', memory, ...(how === 'served' ? [`r=${file}`] : [])];
  const serve = await ServeProcess.start(folder, words);
  if (how === 'created') await serve.run(['create', 'r', '--file', file]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.read(0, 4096);
  await region.write(DIRTY, pageOf(7));
  await region.fence();
  await serve.end('SIGKILL');
  const again = () =>
    serveAppliance(
      { memoryDirectory: memory, ...(how === 'served' && { regions: [{ name: 'r', file }] }) },
      folder,
    );
  return { memory, file, again };
}

describe.each(['served', 'created'] as const)('a %s file that changed meanwhile', (how) => {
  it.each(CHANGES)('and %s: dirty pages are named and none is written', async (_, change) => {
    const { file, again } = await killedWithADirtyPage(how);
    change(file);
    const bytes = readFileSync(file);
    const second = await again();
    const client = await connectClient(second.url);
    if (how === 'created' && bytes.length < LENGTH) {
      // The region is longer than its file: nothing of it is touched before that is put right.
      await expect(client.attach('r')).rejects.toMatchObject({ code: 'ERR_FILE_CHANGED' });
      truncateSync(file, LENGTH);
    }
    const region = await client.attach('r');
    const receipt = await region.receipt();
    expect(receipt).toMatchObject({ start: 'unclean', memory: 'conflict', kept: { dirty: 0 } });
    expect(receipt).toMatchObject({ kept: { clean: 0, dropped: 1 }, lostSince: null });
    const { pages, runs, file: aside = '' } = receipt.conflicts;
    expect({ pages, runs }).toEqual({ pages: 1, runs: [{ offset: DIRTY, length: 4096 }] });
    expect(
      readFileSync(aside)
        .subarray(DIRTY, DIRTY + 4096)
        .equals(pageOf(7)),
    ).toBe(true);
    // The clean page is read anew, the dirty one neither shown nor written.
    expect(Buffer.from(await region.read(0, 4096)).equals(bytes.subarray(0, 4096))).toBe(true);
    await expect(region.read(DIRTY, 8)).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
    await expect(region.sync()).rejects.toMatchObject({ code: 'ERR_PAGE_LOST' });
    await second.appliance.close({ sync: false });
    expect(readFileSync(file).subarray(0, bytes.length).equals(bytes)).toBe(true);
  });
});

it('keeps dirty pages of a file that is missing until it is back', async () => {
  const { file, memory, again } = await killedWithADirtyPage('created');
  renameSync(file, `${file}.away`);
  const second = await again();
  const missing = (await connectClient(second.url)).attach('r');
  await expect(missing).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
  await second.appliance.close();
  renameSync(`${file}.away`, file);
  const third = await again();
  const region = await (await connectClient(third.url)).attach('r');
  expect(await region.receipt()).toMatchObject({ memory: 'adopted', kept: { clean: 1, dirty: 1 } });
  expect(Buffer.from(await region.read(DIRTY, 4096)).equals(pageOf(7))).toBe(true);
  await region.sync();
  expect(
    readFileSync(file)
      .subarray(DIRTY, DIRTY + 4096)
      .equals(pageOf(7)),
  ).toBe(true);
  expect(existsSync(memory) && readdirSync(memory).some((name) => name.includes('conflict'))).toBe(
    false,
  );
  // Written by the appliance itself: no change to the next start.
  await third.appliance.close();
  const { mtimeMs } = statSync(file);
  const fourth = await again();
  const same = await (await connectClient(fourth.url)).attach('r');
  expect(await same.receipt()).toMatchObject({ start: 'clean', memory: 'adopted' });
  expect(statSync(file).mtimeMs).toBe(mtimeMs);
});

it('refuses to start with a file missing that its command line names', async () => {
  const { file, again } = await killedWithADirtyPage('served');
  renameSync(file, join(file, '..', 'away'));
  await expect(again()).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
  renameSync(join(file, '..', 'away'), file);
  const third = await again();
  const region = await (await connectClient(third.url)).attach('r');
  expect(await region.receipt()).toMatchObject({ memory: 'adopted', kept: { dirty: 1 } });
});
