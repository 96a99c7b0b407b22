/** Pages that come back from a tier. */
import { rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { findAppliance } from '../../control/address.js';
import { ControlClient } from '../../control/http-client.js';
import { Budgeted } from './budgeted.js';
import { formatFigure } from './render.js';
import { makeRow, type Row } from './row.js';
import type { Stage } from './stage.js';
import { median } from './statistics.js';
import { figure } from './tool.js';
import { rounds, type Work } from './work.js';

const PAGE = 4096;
const MIB = 1024 ** 2;
const DATA_BYTES = 128 * MIB;
const RECORD_BYTES = 64;

/** Records of text such as programs keep: LZ4 makes a third to a half of them. */
function records(length: number): Buffer {
  const bytes = Buffer.alloc(length, ' ');
  let state = 1;
  for (let at = 0; at < length; at += RECORD_BYTES) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const rest = `"value":${state},"state":"ready","next":${state % 977}}`;
    const text = `{"id":${at / RECORD_BYTES},${rest}`;
    bytes.write(text.slice(0, RECORD_BYTES - 1), at, 'latin1');
    bytes[at + RECORD_BYTES - 1] = 10;
  }
  return bytes;
}

/** A region that was demoted into compressed memory, brought back as a whole. */
async function promote(stage: Stage): Promise<Row[]> {
  const file = join(stage.folder, 'data');
  const bytes = records(DATA_BYTES);
  const pages = DATA_BYTES / PAGE;
  const placed: number[] = [];
  try {
    await using made = await open(file, 'wx');
    await made.write(bytes);
    const tier = ['--tier', `compressed:${DATA_BYTES}`];
    await using small = await Budgeted.start(stage, 2 * DATA_BYTES, tier);
    const { address } = findAppliance(small.url);
    using control = new ControlClient({ address, token: undefined });
    await small.client.create({ name: 'moved', size: DATA_BYTES, fill: 'zero' });
    const region = await small.client.attach('moved');
    await region.write(0, bytes);
    const told = await rounds(stage, async () => {
      const [raw] = await stage.run('decompress', { file });
      placed.push(figure(raw, 'placedUs'));
      const call = { params: { region: 'moved' }, body: {}, signal: stage.signal } as const;
      await control.call('demote', call);
      const begin = performance.now();
      const { pagesPromoted } = await control.call('promote', call);
      const elapsedUs = (performance.now() - begin) * 1000;
      if (pagesPromoted !== pages) throw new Error(`${pagesPromoted} of ${pages} pages came back`);
      return { farpage: elapsedUs / pages, raw: figure(raw, 'meanUs') };
    });
    const work = `promotion of ${pages} pages out of compressed memory, for each, beside LZ4 alone`;
    const note = `LZ4 and a copy into fresh memory: ${formatFigure(median(placed), 'us')}`;
    const target = { of: 'ratio', most: 1.5 } as const;
    const placement = 'two cores, not pinned';
    return [makeRow({ name: 'promote', work, placement, unit: 'us', target, note }, told)];
  } finally {
    rmSync(file, { force: true });
  }
}

export const TIER_WORKS: readonly Work[] = [
  { name: 'promote', quick: false, files: 1, run: (stage) => stage.unpinned(() => promote(stage)) },
];
