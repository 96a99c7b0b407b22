import { describe, expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, patternOf, scratchOnDisk } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const PAGE = 4096;
const MEMORY = 16 * MIB;
const HOT_PAGES = Math.floor(MEMORY / 3 / PAGE);

interface Operations {
  readonly operations: { bypassed: number; faulted: number };
}

/** A page of a third of the memory each time, its first bytes checked. */
class HotReader {
  readonly #region: ExternalRegion;
  readonly #expected = patternOf(MEMORY, 0);
  #next = 0;
  #stopped = false;

  constructor(region: ExternalRegion) {
    this.#region = region;
  }

  async read(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const offset = (this.#next++ % HOT_PAGES) * PAGE;
      const bytes = await this.#region.read(offset, 64);
      expect(Buffer.compare(bytes, this.#expected.subarray(offset, offset + 64))).toBe(0);
    }
  }

  /** Goes on until `work` has ended. */
  async beside<T>(work: Promise<T>): Promise<T> {
    const ended = work.finally(() => {
      this.#stopped = true;
    });
    this.#stopped = false;
    while (!this.#stopped) await this.read(16);
    return await ended;
  }
}

async function writeAll(region: ExternalRegion, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += MIB) {
    await region.write(offset, bytes.subarray(offset, offset + MIB));
    await region.fence();
  }
}

/**
 * Serves a file of which somebody reads a third of the memory, and maybe one that is written. Of
 * those READs, beside the writer and of every page once it has ended, few find no page.
 */
async function serveHot(folder: string, words: readonly string[] = [], written?: string) {
  const hot = patternFile(folder, { length: MEMORY, name: 'hot.bin' });
  const files = [`hot=${hot}`];
  if (written !== undefined) {
    files.push(`r=${patternFile(folder, { length: 5 * MEMORY, name: written })}`);
  }
  const serve = await ServeProcess.start(folder, [...files, '--memory', `${MEMORY}`, ...words]);
  const reader = new HotReader(await (await connectClient(serve.ready.control)).attach('hot'));
  await reader.read(3 * HOT_PAGES);
  const writer = await connectClient(serve.ready.control);
  const faultedShare = async (work: Promise<unknown>) => {
    const before = (await serve.json<Operations>(['stat', 'hot'])).operations;
    await reader.beside(work);
    await reader.read(HOT_PAGES);
    const after = (await serve.json<Operations>(['stat', 'hot'])).operations;
    const faulted = after.faulted - before.faulted;
    return faulted / (faulted + after.bypassed - before.bypassed);
  };
  return { writer, faultedShare };
}

describe('a writer of five times the memory', () => {
  it('spills its own pages and not those that somebody reads', async () => {
    const { writer, faultedShare } = await serveHot(scratchOnDisk());
    const region = await writer.allocate({ name: 'r', size: 5 * MEMORY, fill: 'zero' });
    const bytes = patternOf(5 * MEMORY, 1);
    expect(await faultedShare(writeAll(region, bytes))).toBeLessThan(0.05);
    expect(Buffer.compare(await region.read(0, MIB), bytes.subarray(0, MIB))).toBe(0);
  });

  it('that is written behind waits for its file, and readers for nothing', async () => {
    const words = ['--write-behind'];
    const { writer, faultedShare } = await serveHot(scratchOnDisk(), words, 'written.bin');
    const region = await writer.attach('r');
    expect(await faultedShare(writeAll(region, patternOf(5 * MEMORY, 1)))).toBeLessThan(0.05);
  });

  it('hears when there is no room, and goes on when there is; readers notice neither', async () => {
    const folder = scratchOnDisk();
    const words = ['--tier', `file:${folder}:16MiB`];
    const { writer, faultedShare } = await serveHot(folder, words, 'written.bin');
    const region = await writer.attach('r');
    const bytes = patternOf(5 * MEMORY, 1);
    const stopped = codeOf(() => writeAll(region, bytes));
    expect(await faultedShare(stopped)).toBeLessThan(0.05);
    expect(await stopped).toBe('ERR_NO_SPACE');
    await region.sync();
    await region.write(4 * MEMORY, bytes.subarray(0, MIB));
    await region.fence();
    expect(Buffer.compare(await region.read(4 * MEMORY, MIB), bytes.subarray(0, MIB))).toBe(0);
  });
});
