import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Receipt, RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { damage, unretire } from '../helpers/journal.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 10 * 4096 + 100;

it('syncs several atomic regions as one transaction, and others after them', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const serve = await ServeProcess.start(folder);
  const made = await serve.json<RegionStat>(['create', 'ledger', '--file', file, '--atomic']);
  expect(made).toMatchObject({ atomic: true, kind: 'staged', persist: true });
  await serve.json(['create', 'index', '--size', '1MiB', '--persist', '--atomic']);
  await serve.json(['create', 'plain', '--size', '1MiB', '--persist']);
  for (const name of ['ledger', 'index', 'plain']) {
    await serve.run(['write', name, '--offset', '40960'], { input: 'new' });
  }
  const run = await serve.run(['sync', 'plain', 'ledger', 'index', 'ledger', '--json']);
  const receipts = run.stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(receipts).toMatchObject([
    { region: 'plain', pagesWritten: 1 },
    { region: 'ledger', pagesWritten: 1, bytesWritten: 100, durable: true, transaction: 1 },
    { region: 'index', pagesWritten: 1, bytesWritten: 4096, epoch: 1, transaction: 1 },
    { region: 'ledger', transaction: 1 },
  ]);
  expect((receipts as Receipt[])[0]?.transaction).toBeUndefined();
  const bytes = readFileSync(file);
  expect(bytes.length).toBe(LENGTH);
  expect(bytes.subarray(40_960, 40_963).toString()).toBe('new');
  expect(await serve.json(['sync', 'ledger'])).toMatchObject({ pagesWritten: 0, transaction: 0 });
  const flush = await serve.run(['flush', 'ledger']);
  expect(flush).toMatchObject({ code: 2, stderr: expect.stringContaining('only a sync') });
  // It comes back as what it is, and SIGTERM syncs through the journal.
  await serve.run(['write', 'index'], { input: 'late' });
  expect(await serve.end()).toBe(0);
  const again = await ServeProcess.start(folder);
  expect((await again.run(['read', 'index', '--length', '4'])).stdout.toString()).toBe('late');
  expect(await again.json(['stat', 'ledger'])).toMatchObject({ atomic: true });
  expect(await again.json(['sync', 'ledger'])).toMatchObject({ transaction: 0 });
});

it.each([
  [{ name: 'r', size: 4096 }, 'a file, or persist'],
  [{ name: 'r', kind: 'mapped' as const }, 'staged, not mapped'],
  [{ name: 'r', access: 'read-only' as const }, 'write access'],
  [{ name: 'r', writeBehind: true }, 'writeBehind'],
])('refuses what cannot be atomic: %j', async (body, text) => {
  const file = patternFile(scratch(), { length: LENGTH });
  const { appliance } = await serveAppliance();
  const asked = { ...('size' in body ? {} : { file }), ...body, atomic: true };
  await expect(appliance.create(asked)).rejects.toThrow(text);
  expect(appliance.regions()).toEqual([]);
});

it('writes no file under memory pressure, and says that memory is full', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 64 * 4096 });
  const { appliance, url } = await serveAppliance({ memory: 16 * 4096 }, folder);
  await appliance.create({ name: 'ledger', file, atomic: true });
  const client = await connectClient(url);
  const region = await client.attach('ledger');
  const write = async () => {
    for (let page = 0; page < 64; page += 1) await region.write(page * 4096, Buffer.alloc(4096, 7));
    await region.fence();
  };
  expect(await codeOf(write)).toBe('ERR_MEMORY_FULL');
  expect(Buffer.compare(readFileSync(file), patternOf(64 * 4096))).toBe(0);
  const receipt = await region.sync();
  expect(receipt.pagesWritten).toBeGreaterThan(8);
  const bytes = readFileSync(file);
  expect(bytes[0]).toBe(7);
  await region.write(63 * 4096, Buffer.alloc(8, 9));
  await region.fence();
});

/** An appliance that died with its last sync committed, and its file as it was before. */
async function died(folder: string, file: string): Promise<void> {
  const serve = await ServeProcess.start(folder);
  await serve.json(['create', 'ledger', '--file', file, '--atomic']);
  await serve.run(['write', 'ledger', '--offset', '40960'], { input: 'new' });
  await serve.json(['sync', 'ledger']);
  await serve.end('SIGKILL');
  unretire(folder);
  writeFileSync(file, patternOf(LENGTH));
}

it('brings a committed sync to its file at the next start', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  const serve = await ServeProcess.start(folder);
  expect(serve.ready.recovered).toEqual([{ path: file, pages: 1, bytes: 100, failure: null }]);
  expect(readFileSync(file).subarray(40_960, 40_963).toString()).toBe('new');
  expect(readFileSync(file).length).toBe(LENGTH);
  await serve.end();
  const again = await ServeProcess.start(folder);
  expect(again.ready.recovered).toEqual([]);
});

it('brings it there without serving, once, and only where nobody serves', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  const state = ['--state', join(folder, 'state'), '--json'];
  const run = await farpage(['recover', file, ...state]);
  expect(JSON.parse(run.stdout.toString())).toEqual({
    file,
    pages: 1,
    bytes: 100,
    outcome: 'recovered',
  });
  expect(readFileSync(file).subarray(40_960, 40_963).toString()).toBe('new');
  const twice = await farpage(['recover', file, ...state]);
  expect(JSON.parse(twice.stdout.toString())).toMatchObject({ pages: 0, outcome: 'whole' });
  await ServeProcess.start(folder);
  const busy = await farpage(['recover', file, ...state]);
  expect(busy).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_LOCKED_STATE') });
});

it('keeps what a missing file shall have, and lets nobody use it before', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  renameSync(file, `${file}.away`);
  const serve = await ServeProcess.start(folder);
  expect(serve.ready.recovered).toMatchObject([{ failure: 'ERR_FILE_NOT_FOUND' }]);
  // Another file under its name is not the one that was synced.
  writeFileSync(file, patternOf(LENGTH));
  const refused = await serve.run(['read', 'ledger', '--length', '4']);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_FILE_CHANGED') });
  renameSync(`${file}.away`, file);
  const read = await serve.run(['read', 'ledger', '--offset', '40960', '--length', '3']);
  expect(read.stdout.toString()).toBe('new');
  expect(readFileSync(file).subarray(40_960, 40_963).toString()).toBe('new');
});

it('forgets it when it is abandoned by name', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  renameSync(file, `${file}.away`);
  const state = ['--state', join(folder, 'state')];
  const waits = await farpage(['recover', file, ...state]);
  expect(waits).toMatchObject({ code: 1, stderr: expect.stringContaining('--abandon') });
  const abandoned = await farpage(['recover', file, '--abandon', ...state]);
  expect(abandoned.code, abandoned.stderr).toBe(0);
  writeFileSync(file, patternOf(LENGTH));
  const serve = await ServeProcess.start(folder);
  expect((await serve.run(['read', 'ledger', '--length', '4'])).code).toBe(0);
});

it('commits nothing for a file that was replaced, and goes on when that is put back', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  const other = patternFile(scratch(), { length: LENGTH });
  const { appliance, url } = await serveAppliance({}, folder);
  await appliance.create({ name: 'ledger', file, atomic: true });
  await appliance.create({ name: 'beside', file: other, atomic: true });
  const client = await connectClient(url);
  const [region, beside] = [await client.attach('ledger'), await client.attach('beside')];
  for (const one of [region, beside]) await one.write(0, Buffer.from('mine'));
  await beside.fence();
  renameSync(file, `${file}.aside`);
  writeFileSync(file, patternOf(LENGTH));
  expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
  // Nothing waits in the journal: neither is another region kept from its sync, nor this one.
  expect(await codeOf(() => client.sync([region, beside]))).toBe('ERR_FILE_CHANGED');
  expect(readFileSync(other).toString('latin1', 0, 4)).not.toBe('mine');
  expect((await beside.sync()).pagesWritten).toBe(1);
  expect((await region.stat()).pages.dirty).toBe(1);
  renameSync(`${file}.aside`, file);
  expect((await region.sync()).pagesWritten).toBe(1);
  expect(readFileSync(file).toString('latin1', 0, 4)).toBe('mine');
  // With nothing dirty it is told as well.
  rmSync(file);
  expect(await codeOf(() => region.sync())).toBe('ERR_FILE_CHANGED');
});

it('brings syncs to their files from whatever file of the journal has them', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  const journal = join(folder, 'state', 'journal');
  renameSync(journal, `${journal}-segment-3`);
  renameSync(`${journal}.begun`, `${journal}-segment-3.begun`);
  const run = await farpage(['recover', file, '--state', join(folder, 'state'), '--json']);
  expect(JSON.parse(run.stdout.toString())).toMatchObject({ pages: 1, outcome: 'recovered' });
  expect(readFileSync(file).subarray(40_960, 40_963).toString()).toBe('new');
  unretire(folder, 'journal-segment-3');
  writeFileSync(file, patternOf(LENGTH));
  const at = damage(folder, 'journal-segment-3');
  const words = ['serve', '--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const refused = await farpage(words);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain(
    `${journal}-segment-3: a committed sync is damaged at byte ${at}`,
  );
  expect(Buffer.compare(readFileSync(file), patternOf(LENGTH))).toBe(0);
  // Without that file there is nothing to be recovered, once somebody says so.
  renameSync(`${journal}-segment-3`, join(folder, 'damaged'));
  expect((await farpage(words)).stderr).toContain(`${journal}-segment-3: it is missing`);
  renameSync(`${journal}-segment-3.begun`, join(folder, 'damaged.begun'));
  const serve = await ServeProcess.start(folder);
  expect(serve.ready.recovered).toEqual([]);
});

it('takes a journal without heads for a damaged one, and not for a new one', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  const journal = join(folder, 'state', 'journal');
  const words = ['serve', '--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const zeroed = readFileSync(journal).fill(0, 0, 8192);
  for (const left of [zeroed, Buffer.alloc(zeroed.length), Buffer.alloc(0)]) {
    writeFileSync(journal, left);
    const run = await farpage(words);
    expect(run.code).toBe(1);
    expect(run.stderr).toContain('ERR_STATE_DAMAGED');
    expect(run.stderr).toContain(`${journal}: its heads cannot be read`);
    expect(Buffer.compare(readFileSync(journal), left)).toBe(0);
    expect(Buffer.compare(readFileSync(file), patternOf(LENGTH))).toBe(0);
  }
});

it('refuses a damaged journal, says where, and writes nothing', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: LENGTH });
  await died(folder, file);
  const at = damage(folder);
  const journal = join(folder, 'state', 'journal');
  const before = readFileSync(journal);
  const words = ['serve', '--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const run = await farpage(words);
  expect(run.code).toBe(1);
  expect(run.stderr).toContain('ERR_STATE_DAMAGED');
  expect(run.stderr).toContain(`${journal}: a committed sync is damaged at byte ${at}`);
  expect(Buffer.compare(readFileSync(journal), before)).toBe(0);
  expect(Buffer.compare(readFileSync(file), patternOf(LENGTH))).toBe(0);
});
