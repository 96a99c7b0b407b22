import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connect } from '../../src/client/client.js';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { killsOf, memoryFolder, pageOf, randomOf, SEED, versionOf } from '../helpers/crash.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const PAGES = 256;
const NAMES = ['file', 'kept', 'copy', 'plain'] as const;
const WRITERS = 3;
const TIMEOUT = { timeoutMs: 2000 };
const below = randomOf(SEED);

/** The newest version of each page that was confirmed; a page whose write failed has none. */
type Known = Map<number, number>;

let version = 0;

/** Writes pages that are its own, until the appliance is gone. */
async function write(region: ExternalRegion, options: { writer: number; known: Known }) {
  const { writer, known } = options;
  for (;;) {
    const page = below(Math.floor(PAGES / WRITERS)) * WRITERS + writer;
    version += 1;
    const mine = version;
    known.delete(page);
    try {
      await region.write(page * 4096, pageOf(mine), TIMEOUT);
      await region.fence(TIMEOUT);
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_MEMORY_FULL') return;
      continue;
    }
    known.set(page, mine);
  }
}

/** Syncs, flushes and evicts beside them. */
async function disturb(region: ExternalRegion): Promise<void> {
  for (;;) {
    try {
      await sleep(below(20));
      const what = below(3);
      if (what === 0) await region.sync(TIMEOUT);
      else if (what === 1) await region.flush(TIMEOUT);
      else await region.reclaim(TIMEOUT);
    } catch {
      return;
    }
  }
}

it(`keeps every confirmed write of many clients when it is killed (seed ${SEED})`, async () => {
  const source = await serveAppliance({
    regions: [{ name: 'origin', file: patternFile(scratch(), { length: PAGES * 4096 }) }],
  });
  const folder = scratch();
  const memory = memoryFolder();
  const file = patternFile(folder, { length: PAGES * 4096 });
  // Less than all pages together: evictions and write-backs are under way all the time.
  const words = ['--memory-dir', memory, '--memory', '3MiB', `file=${file}`];
  const known = new Map<string, Known>(NAMES.map((name) => [name, new Map()]));
  const kills = killsOf(4);
  for (let kill = 0; kill <= kills; kill += 1) {
    const serve = await ServeProcess.start(folder, words);
    if (kill === 0) {
      await serve.json(['create', 'kept', '--size', '1MiB', '--persist']);
      await serve.json(['create', 'copy', '--from', `${source.url}?region=origin`]);
      await serve.json(['create', 'plain', '--size', '1MiB']);
    }
    // Some die while they adopt what the one before has left, before anybody has written.
    const early = kill % 3 === 2 ? sleep(below(40)).then(() => serve.end('SIGKILL')) : undefined;
    const client = await connect(serve.ready.control).catch(() => undefined);
    const check = async (name: string) => {
      const region = await client!.attach(name);
      for (const [page, seen] of known.get(name)!) {
        const found = versionOf(await region.read(page * 4096, 4096, TIMEOUT));
        expect(found, `${name} page ${page}, kill ${kill}`).toBe(seen);
      }
      return region;
    };
    if (early !== undefined) {
      await Promise.allSettled(NAMES.map(check));
      await early;
      await client?.close();
      continue;
    }
    const regions = await Promise.all(NAMES.map(check));
    if (kill < kills) {
      const work = regions.flatMap((region) => {
        const writers = Array.from({ length: WRITERS }, (_, writer) =>
          write(region, { writer, known: known.get(region.name)! }),
        );
        return [...writers, disturb(region)];
      });
      await sleep(100 + below(200));
      await serve.end('SIGKILL');
      await Promise.all(work);
    }
    await client?.close();
  }
  for (const pages of known.values()) expect(pages.size).toBeGreaterThan(PAGES / 16);
}, 3_600_000);
