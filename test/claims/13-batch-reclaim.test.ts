import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import type { InvalidateReply, ReclaimReply, RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { independentView } from '../helpers/independent-view.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const PAGE = 4096;
const TERABYTE = 2 ** 40;
const PAGES = 1000;
/** Two crowds of pages, one at each end of a terabyte: every second page, so each is a run. */
const SCATTERED = Array.from({ length: PAGES }, (_, index) => {
  const at = 2 * index * PAGE;
  return index < PAGES / 2 ? at : TERABYTE - 2 * PAGES * PAGE + at;
});
/** Bytes of each READ, and of all of them. */
const READ_BYTES = 8;
const CROWD_BYTES = PAGES * READ_BYTES;
/** A look at every word of a terabyte's page table would fault in 262,144 pages of it. */
const FAULTS_MAX = 50_000;

/** Grace periods that the appliance has waited for: one tells the interface of a whole batch. */
async function gracePeriods(serve: ServeProcess): Promise<number> {
  const body = await new Promise<string>((resolve, reject) => {
    const options = { socketPath: serve.ready.socket, path: '/metrics' };
    get(options, (response) => resolve(text(response))).on('error', reject);
  });
  const line = /^farpage_grace_periods_total (\d+)$/m.exec(body);
  expect(line).not.toBeNull();
  return Number(line?.[1]);
}

/** Page faults of the appliance's own: what it has touched for the first time. */
function touchesOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[7]);
}

const readAll = async (region: ExternalRegion, offsets: readonly number[]) =>
  await Promise.all(offsets.map((offset) => region.read(offset, READ_BYTES)));

describe('promise 13: portions are reclaimed and invalidated in batches', () => {
  it('of a terabyte, with one word to the interface, for what is there', async () => {
    const serve = await ServeProcess.start(scratch());
    const client = await connectClient(serve.ready.control);
    const region = await client.allocate({ name: 'r', size: '1TiB', fill: 'one' });
    await readAll(region, SCATTERED);
    // They are here now: the interface does not ask for them again.
    await readAll(region, SCATTERED);
    const stat = async () => await serve.json<RegionStat>(['stat', 'r']);
    const before = await stat();
    expect(before.pages).toMatchObject({ present: PAGES, dirty: 0, total: TERABYTE / PAGE });
    expect(before.operations).toEqual({ bypassed: PAGES, faulted: PAGES, bytes: 2 * CROWD_BYTES });

    for (const verb of ['reclaim', 'invalidate'] as const) {
      const graces = await gracePeriods(serve);
      const touches = touchesOf(serve.ready.pid);
      const reply = await serve.json<Partial<ReclaimReply & InvalidateReply>>([verb, 'r']);
      expect(reply.pagesReclaimed ?? reply.pagesInvalidated).toBe(PAGES);
      expect(touchesOf(serve.ready.pid) - touches).toBeLessThan(FAULTS_MAX);
      expect((await gracePeriods(serve)) - graces).toBe(1);
      expect((await stat()).pages.present).toBe(0);
      // The interface was told: every page faults again, and once.
      const { operations } = await stat();
      for (const bytes of await readAll(region, SCATTERED)) {
        expect(Buffer.from(bytes)).toEqual(Buffer.alloc(READ_BYTES, 0xff));
      }
      await readAll(region, SCATTERED);
      const after = await stat();
      expect(after.operations).toEqual({
        bypassed: operations.bypassed + PAGES,
        faulted: operations.faulted + PAGES,
        bytes: operations.bytes + 2 * CROWD_BYTES,
      });
    }
    // Nothing there, nothing to do.
    await serve.json(['reclaim', 'r']);
    const graces = await gracePeriods(serve);
    expect(await serve.json(['reclaim', 'r'])).toMatchObject({ pagesReclaimed: 0 });
    expect(await gracePeriods(serve)).toBe(graces);
  });

  it('but dirty ones stay, are refused, synced, or discarded where that is said', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 64 * PAGE });
    const expected = patternOf(64 * PAGE);
    const serve = await ServeProcess.start(folder, [`r=${file}`]);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const write = async (page: number, text: string) => {
      await region.write(page * PAGE, Buffer.from(text));
      await region.fence();
    };
    const pages = async () => (await serve.json<RegionStat>(['stat', 'r'])).pages;
    await region.read(0, 64 * PAGE);
    await write(3, 'mine');

    // Reclaim leaves them, invalidate refuses; nothing is lost either way.
    const kept = await serve.json<ReclaimReply>(['reclaim', 'r']);
    expect(kept).toMatchObject({ pagesReclaimed: 63, pagesDirty: 1, pagesWritten: 0 });
    expect(await pages()).toMatchObject({ present: 1, dirty: 1 });
    const refused = await serve.run(['invalidate', 'r']);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('ERR_REGION_DIRTY');
    expect(await pages()).toMatchObject({ present: 1, dirty: 1 });
    expect(await independentView(file)).toEqual(expected);

    // Written back first: the file has them, and the memory is free.
    const synced = await serve.json<ReclaimReply>(['reclaim', 'r', '--sync']);
    expect(synced).toMatchObject({ pagesReclaimed: 1, pagesDirty: 0, pagesWritten: 1 });
    expected.write('mine', 3 * PAGE);
    expect(await independentView(file)).toEqual(expected);

    // Given up: the next touch finds what the file has.
    await write(3, 'lost');
    await write(5, 'lost');
    const given = await serve.json<ReclaimReply>(['reclaim', 'r', '--discard']);
    expect(given).toMatchObject({ pagesReclaimed: 2, pagesDirty: 0, pagesWritten: 0 });
    expect(await pages()).toMatchObject({ present: 0, dirty: 0 });
    expect(Buffer.compare(await region.read(0, 64 * PAGE), expected)).toBe(0);
    expect(await independentView(file)).toEqual(expected);
  });
});
