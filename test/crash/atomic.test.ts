import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/client/client.js';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { ServeProcess } from '../helpers/cli.js';
import { scratch } from '../helpers/scratch.js';

/** More rounds in a long run. */
const ROUNDS = Number(process.env.FARPAGE_KILLS ?? 6);
const SEED = Number(process.env.FARPAGE_SEED ?? Date.now() % 2 ** 31);
const PAGES = 96;
const NAMES = ['ledger', 'index'] as const;
type Name = (typeof NAMES)[number];

/** A folder on the tmpfs that every Linux has. */
function memoryFolder(): string {
  const path = mkdtempSync('/dev/shm/farpage-test-');
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A hash of some numbers, 0..1. */
function dice(...numbers: number[]): number {
  let state = 2_166_136_261 ^ SEED;
  for (const number of numbers) state = Math.imul(state ^ number, 16_777_619) ^ (state >>> 13);
  return (state >>> 0) / 2 ** 32;
}

/** Whether sync `number` writes a page of a region: anybody can tell. */
const writes = (number: number, name: Name, page: number) =>
  dice(number, NAMES.indexOf(name), page) < 0.3;

/** The sync that wrote a page last, as of sync `number`; 0 for none. */
function lastWriter(number: number, name: Name, page: number): number {
  for (let one = number; one > 0; one -= 1) if (writes(one, name, page)) return one;
  return 0;
}

const pageOf = (number: number) => {
  const page = Buffer.alloc(4096);
  for (let at = 0; at < 4096; at += 8) page.writeDoubleLE(number, at);
  return page;
};

/** The first page of what a region holds that is not as sync `number` left it; none if all are. */
function strangeAt(bytes: Buffer, number: number, name: Name): number | undefined {
  for (let page = 0; page < PAGES; page += 1) {
    const found = bytes.subarray(page * 4096, (page + 1) * 4096);
    if (Buffer.compare(found, pageOf(lastWriter(number, name, page))) !== 0) return page;
  }
  return undefined;
}

it.each([
  ['', []],
  [', and forgets no write with a memory directory', ['--memory-dir']],
])(
  'has one sync or the next of all regions when it is killed at any moment%s',
  async (_, words) => {
    const folder = scratch();
    const remembers = words.length > 0;
    const memory = remembers ? [...words, memoryFolder()] : [];
    const file = join(folder, 'ledger.db');
    writeFileSync(file, Buffer.alloc(PAGES * 4096));
    let told = 0;
    let begun = 0;
    let recovered = 0;
    for (let round = 0; round <= ROUNDS; round += 1) {
      const serve = await ServeProcess.start(folder, memory);
      if (round === 0) {
        await serve.json(['create', 'ledger', '--file', file, '--atomic']);
        await serve.json(['create', 'index', '--size', `${PAGES * 4}KiB`, '--persist', '--atomic']);
      }
      recovered += serve.ready.recovered.length;
      const inFile = readFileSync(file);
      const client = await connect(serve.ready.control);
      const regions = new Map<Name, ExternalRegion>();
      const found = new Map<Name, Buffer>();
      for (const name of NAMES) {
        const region = await client.attach(name);
        regions.set(name, region);
        found.set(name, Buffer.from(await region.read(0, PAGES * 4096)));
      }
      if (remembers) {
        const receipt = await regions.get('ledger')?.receipt();
        if (round > 0)
          expect(receipt).toMatchObject({ memory: 'adopted', conflicts: { pages: 0 } });
        found.set('ledger', inFile);
        found.delete('index');
      }
      expect(Buffer.compare(inFile, found.get('ledger') ?? inFile), `seed ${SEED}`).toBe(0);
      const fits = [told, begun].find((number) =>
        [...found].every(([name, bytes]) => strangeAt(bytes, number, name) === undefined),
      );
      expect(fits, `neither sync ${told} nor ${begun}, seed ${SEED}`).toBeDefined();
      told = fits ?? 0;
      // What was written after it is gone, or still in memory.
      if (!remembers) begun = told;
      const work = (async () => {
        for (;;) {
          const next = begun + 1;
          for (const [name, region] of regions) {
            const pages = Array.from({ length: PAGES }, (_, page) => page);
            await Promise.all(
              pages
                .filter((page) => writes(next, name, page))
                .map((page) => region.write(page * 4096, pageOf(next), { timeoutMs: 2000 })),
            );
          }
          begun = next;
          await client.sync([...regions.values()], { timeoutMs: 2000 });
          told = next;
        }
      })().catch(() => {});
      await sleep(40 + dice(round) * 160);
      await serve.end('SIGKILL');
      await work;
      await client.close();
    }
    expect(told).toBeGreaterThan(0);
    console.log(`${ROUNDS} kills, ${told} syncs, ${recovered} files recovered, seed ${SEED}`);
  },
);
