import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { killsOf, pageOf, randomOf, SEED } from '../helpers/crash.js';
import { patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const SIZE = 8 * 2 ** 20;
const PAGES = SIZE / PAGE;
/** Pages that are written, far apart; the rest stays the source's. */
const WRITTEN = 48;
const ROUNDS = killsOf(6);

const below = randomOf(SEED);
const pattern = patternOf(SIZE);
const placeOf = (page: number) => Math.floor((page * PAGES) / WRITTEN) * PAGE;

/** What was asked for and what was promised of one copy; version 0 is the source's page. */
class Ledger {
  readonly intended = new Array<number>(WRITTEN).fill(0);
  readonly promised = new Array<number>(WRITTEN).fill(0);
  detached = false;

  /** Compares what is there; with `all` every byte of it. */
  async check(region: ExternalRegion, all: boolean): Promise<void> {
    const isWritten = new Set<number>();
    for (const page of this.intended.keys()) {
      const at = placeOf(page);
      isWritten.add(at);
      const found = Buffer.from(await region.read(at, PAGE));
      const isSource = found.equals(pattern.subarray(at, at + PAGE));
      const seen = isSource ? 0 : found.readDoubleLE(0);
      if (!isSource) expect(found.equals(pageOf(seen)), `page ${page} is torn`).toBe(true);
      expect(seen).toBeGreaterThanOrEqual(this.promised[page] ?? 0);
      expect(seen).toBeLessThanOrEqual(this.intended[page] ?? 0);
      this.promised[page] = this.intended[page] = seen;
    }
    const bytes = all ? Buffer.from(await region.read(0, SIZE)) : undefined;
    for (let count = 0; count < (all ? PAGES : 64); count += 1) {
      const at = (all ? count : below(PAGES)) * PAGE;
      if (isWritten.has(at)) continue;
      const found = bytes?.subarray(at, at + PAGE) ?? Buffer.from(await region.read(at, PAGE));
      expect(found.equals(pattern.subarray(at, at + PAGE)), `the source's page at ${at}`).toBe(
        true,
      );
    }
  }
}

it(`is the source and what was synced, killed in pulls and detaches (seed ${SEED})`, async () => {
  const sourceFolder = scratch();
  const file = join(sourceFolder, 'model');
  writeFileSync(file, pattern);
  let source = await ServeProcess.start(sourceFolder);
  await source.json(['create', 'model', '--file', file]);
  const from = `${source.ready.control}?region=model`;
  const folder = scratch();
  let ledger: Ledger | undefined;
  let version = 0;
  let detaches = 0;
  for (let round = 0; round < ROUNDS || detaches === 0; round += 1) {
    const serve = await ServeProcess.start(folder, ['--memory', '2MiB']);
    if (ledger === undefined) await serve.json(['create', 'copy', '--from', from]);
    ledger ??= new Ledger();
    const client = await connectClient(serve.ready.control);
    const region = await client.attach('copy');
    const { from: told } = await region.stat();
    // A detach that was promised is known; one under way may have come to its end.
    if (ledger.detached) expect(told?.detached).toBe(true);
    if (told?.detached) {
      detaches += 1;
      expect(told.needed).toBe(0);
      await source.end('SIGKILL');
      await ledger.check(region, true);
      await client.remove('copy', { dirty: 'discard' });
      source = await ServeProcess.start(sourceFolder);
      ledger = undefined;
      await serve.end('SIGKILL');
      continue;
    }
    await ledger.check(region, below(10) < 3);
    const book = ledger;
    let alive = true;
    const write = async () => {
      while (alive) {
        for (let count = 0; count < 8; count += 1) {
          version += 1;
          const page = (version * 7) % WRITTEN;
          book.intended[page] = version;
          await region.write(placeOf(page), pageOf(version), { timeoutMs: 2000 });
        }
        const before = [...book.intended];
        await region.sync({ timeoutMs: 2000 });
        for (const [page, seen] of before.entries()) book.promised[page] = seen;
      }
    };
    const pull = async () => {
      await region.prefetch({ wait: true, timeoutMs: 2000 });
      await region.detachSource({ timeoutMs: 2000 });
      book.detached = true;
    };
    const work = [write(), pull()].map((one) => one.catch(() => {}));
    await sleep(20 + below(400));
    await serve.end('SIGKILL');
    alive = false;
    await Promise.all(work);
  }
  expect(detaches).toBeGreaterThan(0);
}, 600_000);
