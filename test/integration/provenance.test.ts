import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import type { Provenance, ProvenanceRun } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const NEW = Buffer.from('new');

/** Runs as [pages, state, from, place]; what a run does not have is left out. */
const short = (runs: readonly ProvenanceRun[]) =>
  runs.map(({ length, state, from, place }) =>
    [length / PAGE, state, from, place].filter((part) => part !== undefined).join(' '),
  );

async function told(region: ExternalRegion, range: { offset?: number; length?: number } = {}) {
  const runs: ProvenanceRun[] = [];
  for await (const run of region.provenance(range)) runs.push(run);
  return runs;
}

it('tells every page of a file: untouched, read, dirty, written back', async () => {
  const folder = scratch();
  const file = patternFile(folder, { length: 16 * PAGE - 100 });
  const serve = await ServeProcess.start(folder, [`r=${file}`]);
  const region = await (await connectClient(serve.ready.control)).attach('r');
  await region.prefetch({ offset: 2 * PAGE, length: 3 * PAGE, wait: true });
  await region.write(4 * PAGE, NEW);
  await region.sync();
  await region.write(8 * PAGE, NEW);
  await region.reclaim();
  await region.prefetch({ offset: 15 * PAGE, wait: true });

  const all = await serve.json<Provenance>(['provenance', 'r']);
  expect(all).toMatchObject({ region: 'r', offset: 0, length: 16 * PAGE - 100, next: null });
  expect(all.runs).toEqual([
    { offset: 0, length: 4 * PAGE, state: 'untouched', from: 'file' },
    { offset: 4 * PAGE, length: PAGE, state: 'written-back' },
    { offset: 5 * PAGE, length: 3 * PAGE, state: 'untouched', from: 'file' },
    { offset: 8 * PAGE, length: PAGE, state: 'dirty', place: 'memory' },
    { offset: 9 * PAGE, length: 6 * PAGE, state: 'untouched', from: 'file' },
    { offset: 15 * PAGE, length: PAGE - 100, state: 'file', place: 'memory' },
  ]);

  const range = ['--offset', `${8 * PAGE + 5}`, '--length', `${2 * PAGE}`];
  const part = await serve.json<Provenance>(['provenance', 'r', ...range]);
  expect(part).toMatchObject({ offset: 8 * PAGE + 5, length: 2 * PAGE, next: null });
  expect(part.runs.map(({ offset, length }) => [offset, length])).toEqual([
    [8 * PAGE + 5, PAGE - 5],
    [9 * PAGE, PAGE + 5],
  ]);
  const limited = await serve.json<Provenance>(['provenance', 'r', '--limit', '2']);
  expect([limited.runs, limited.next]).toEqual([all.runs.slice(0, 2), 5 * PAGE]);

  const text = (await serve.run(['provenance', 'r'])).stdout.toString();
  expect(text).toContain('[....s...W......F]');
  expect(text).toContain('W dirty  s written back  F from file  . untouched');
  expect(text).toMatch(/32768 +4 KiB +dirty +memory/);
  const more = (await serve.run(['provenance', 'r', '--limit', '2'])).stdout.toString();
  expect(more).toContain(`--offset ${5 * PAGE}`);
  // The written page that was evicted is in the small picture of `stat` too.
  expect((await serve.run(['stat', 'r'])).stdout.toString()).toContain('[....s...W......R]');

  for (const [words, code] of [
    [['none'], 'ERR_NO_SUCH_REGION'],
    [['r', '--offset', '1GiB'], 'ERR_RANGE'],
    [['r', '--length', '1GiB'], 'ERR_RANGE'],
    [['r', '--limit', '0'], 'ERR_ARGUMENT'],
  ] as const) {
    const refused = await serve.run(['provenance', ...words]);
    expect([refused.code === 0, refused.stderr]).toEqual([false, expect.stringContaining(code)]);
  }
});

it('costs nothing where nothing was touched, and allocates nothing', async () => {
  const { url } = await serveAppliance();
  const region = await (await connectClient(url)).reserve({ size: '1TiB', fill: 'one' });
  expect(await told(region)).toEqual([
    { offset: 0, length: 2 ** 40, state: 'untouched', from: 'one' },
  ]);
  expect((await region.stat()).allocatedBytes).toBe(0);
  await region.write(2 ** 39, NEW);
  await region.read(2 ** 39 + PAGE, 1);
  expect(short(await told(region))).toEqual([
    `${2 ** 27} untouched one`,
    '1 dirty memory',
    '1 filled one memory',
    `${2 ** 27 - 2} untouched one`,
  ]);
  // Not even two answers of a look at every page word would do.
  const { runs, next } = await serveReply(url, region.name);
  expect([runs.length, next]).toEqual([4, null]);
  expect(short(await told(region, { offset: 2 ** 39, length: PAGE }))).toEqual(['1 dirty memory']);
  expect(await told(region, { offset: 5, length: 0 })).toEqual([]);
});

async function serveReply(url: string, region: string): Promise<Provenance> {
  const { ControlClient } = await import('../../src/control/http-client.js');
  const control = new ControlClient({ address: { path: url.replace('farpage+unix:', '') } });
  try {
    return await control.call('provenance', { params: { region }, query: {} });
  } finally {
    control.close();
  }
}

it('goes on over as many answers as the runs take', async () => {
  const { url } = await serveAppliance();
  const pages = 6000;
  const region = await (await connectClient(url)).reserve({ size: pages * PAGE });
  const writes = Array.from({ length: pages / 2 }, (_, n) => region.write(2 * n * PAGE, NEW));
  await Promise.all(writes);
  const runs = await told(region);
  expect(runs.length).toBe(pages);
  expect(runs.map(({ offset }) => offset)).toEqual(runs.map((_, n) => n * PAGE));
  expect(runs.map(({ state }) => state)).toEqual(
    runs.map((_, n) => (n % 2 === 0 ? 'dirty' : 'untouched')),
  );
});

it('tells what a copy has pulled, was written, and still lacks; over a detach', async () => {
  const source = await serveAppliance();
  const file = join(source.folder, 'model');
  writeFileSync(file, randomBytes(16 * PAGE));
  await source.appliance.create({ name: 'model', file });
  const folder = scratch();
  const here = await serveAppliance({}, folder);
  const from = `${source.url}?region=model`;
  await here.appliance.create({ name: 'copy', from });
  const copy = await (await connectClient(here.url)).attach('copy');
  expect(short(await told(copy))).toEqual(['16 untouched elsewhere']);
  await copy.prefetch({ length: 4 * PAGE, wait: true });
  await copy.write(PAGE, NEW);
  expect(short(await told(copy))).toEqual([
    '1 elsewhere memory',
    '1 dirty memory',
    '2 elsewhere memory',
    '12 untouched elsewhere',
  ]);
  await copy.prefetch({ wait: true });
  await copy.detachSource();
  await source.appliance.close({ sync: false });
  await copy.reclaim();
  expect(short(await told(copy))).toEqual(['1 elsewhere', '1 written-back', '14 elsewhere']);

  await here.appliance.close();
  const again = await serveAppliance({}, folder);
  const kept = await (await connectClient(again.url)).attach('copy');
  expect(short(await told(kept))).toEqual(['16 kept']);
  await kept.write(0, NEW);
  expect(short(await told(kept))).toEqual(['1 dirty memory', '15 kept']);
});

it('knows of a kept region what an earlier life has written, before it is allocated', async () => {
  const folder = scratch();
  const first = await serveAppliance({}, folder);
  const client = await connectClient(first.url);
  const notes = await client.allocate({ name: 'notes', size: '1TiB', fill: 'one', persist: true });
  await notes.write(3 * PAGE, NEW);
  await notes.read(7 * PAGE, 1);
  expect(short(await told(notes))).toEqual([
    '3 untouched one',
    '1 dirty memory',
    '3 untouched one',
    '1 filled one memory',
    `${2 ** 28 - 8} untouched one`,
  ]);
  await first.appliance.close();

  const second = await serveAppliance({}, folder);
  const reply = await serveReply(second.url, 'notes');
  const expected = ['3 untouched one', '1 written-back', `${2 ** 28 - 4} untouched one`];
  expect(short(reply.runs)).toEqual(expected);
  const { allocatedBytes } = await second.control.call('stat', { params: { region: 'notes' } });
  expect(allocatedBytes).toBe(0);
  const again = await (await connectClient(second.url)).attach('notes');
  await again.read(0, 1);
  expect(short(await told(again)).slice(0, 3)).toEqual([
    '1 filled one memory',
    '2 untouched one',
    '1 written-back',
  ]);
});

it('tells what an atomic sync wrote, what a program supplies, what is in a tier', async () => {
  const { url, appliance } = await serveAppliance({ tiers: ['compressed:1MiB'] });
  const file = patternFile(scratch(), { length: 4 * PAGE });
  await appliance.create({ name: 'ledger', file, atomic: true });
  const fill = async (_pages: unknown, into: Uint8Array) => void into.fill(7);
  await appliance.create({ name: 'program', size: 4 * PAGE, source: { fill } });
  const client = await connectClient(url);
  const ledger = await client.attach('ledger');
  await ledger.write(0, Buffer.alloc(2 * PAGE, 'x'));
  await ledger.sync();
  expect(short(await told(ledger))).toEqual(['2 written-back memory', '2 untouched file']);
  const program = await client.attach('program');
  await program.read(PAGE, 1);
  expect(short(await told(program))).toEqual([
    '1 untouched elsewhere',
    '1 elsewhere memory',
    '2 untouched elsewhere',
  ]);
  const plain = await client.reserve({ size: 4 * PAGE });
  await plain.write(0, NEW);
  await plain.demote();
  expect(short(await told(plain))).toEqual(['1 dirty tier', '3 untouched zero']);
  expect(await codeOf(() => told(plain, { offset: 5 * PAGE }))).toBe('ERR_RANGE');
});
