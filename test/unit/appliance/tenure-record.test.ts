import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Carving } from '../../../src/appliance/carving.js';
import { TenureRecord } from '../../../src/appliance/tenure-record.js';
import { codeOf } from '../../helpers/codes.js';
import { scratch } from '../../helpers/scratch.js';

const TENURE = '0123456789abcdef'.repeat(2);

/** A record that was written, and its file. */
async function written() {
  const path = join(scratch(), 'r.carving');
  await new TenureRecord(path).write(TENURE);
  return path;
}

describe('the record of a tenure', () => {
  it('is found again as it was written last, and leaves nothing when it is gone', async () => {
    const path = await written();
    expect(await new TenureRecord(path).read()).toBe(TENURE);
    const other = TENURE.replaceAll('0', '1');
    await new TenureRecord(path).write(other);
    expect(await new TenureRecord(path).read()).toBe(other);
    writeFileSync(`${path}.next`, 'cut off by a crash');
    new TenureRecord(path).forget();
    expect(readdirSync(join(path, '..'))).toEqual([]);
    expect(await new TenureRecord(path).read()).toBeUndefined();
  });

  it.each<[string, (path: string, text: string) => void]>([
    [
      'has another tenure than its checksum',
      (path, text) => writeFileSync(path, text.replace(TENURE, TENURE.replace('0', '1'))),
    ],
    ['is cut off', (path) => truncateSync(path, 40)],
    ['is empty', (path) => truncateSync(path, 0)],
    ['is another file', (path) => writeFileSync(path, '{"format":"farpage-ranges","version":1}')],
    [
      'is of a newer version',
      (path, text) => writeFileSync(path, text.replace('"version":1', '"version":2')),
    ],
  ])('tells nothing where it %s', async (_, harm) => {
    const path = await written();
    const text = readFileSync(path, 'utf8');
    harm(path, text);
    expect(readFileSync(path, 'utf8')).not.toBe(text);
    expect(await new TenureRecord(path).read()).toBeUndefined();
    // Nor is it in the way of the next one.
    await new TenureRecord(path).write(TENURE);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it('has a checksum of what it keeps', async () => {
    const carving = { tenure: TENURE };
    const checksum = createHash('sha256').update(JSON.stringify(carving)).digest('hex');
    const text = JSON.stringify({ format: 'farpage-tenure', version: 1, checksum, carving });
    expect(readFileSync(await written(), 'utf8')).toBe(text);
  });
});

describe('the right to carve what outlives the process', () => {
  it('goes on after a restart for who had it last, and for nobody else', async () => {
    const path = join(scratch(), 'r.carving');
    const carving = new Carving('r', new TenureRecord(path));
    await carving.give('a');
    const first = carving.tenure!;
    carving.take('a');
    await carving.give('b');
    const second = carving.tenure!;
    expect(second).not.toBe(first);
    const early = new Carving('r', new TenureRecord(path));
    await early.give('b again', { tenure: second });
    expect(early.tenure).toBe(second);
    const late = new Carving('r', new TenureRecord(path));
    await late.give('a again', { tenure: first });
    expect([first, second]).not.toContain(late.tenure);
    const last = new Carving('r', new TenureRecord(path));
    await last.give('b once more', { tenure: second });
    expect(last.tenure).not.toBe(second);
  });

  it('is refused, and stays whose it was, where it shall only go on', async () => {
    const path = await written();
    const carving = new Carving('r', new TenureRecord(path));
    const other = { tenure: TENURE.replace('0', '1'), goOn: true };
    expect(await codeOf(() => carving.give('a', other))).toBe('ERR_REGION_CARVED');
    await carving.give('b', { tenure: TENURE, goOn: true });
    expect([carving.holder, carving.tenure]).toEqual(['b', TENURE]);
  });

  it('goes on for nobody where the record is missing', async () => {
    const carving = new Carving('r', new TenureRecord(join(scratch(), 'r.carving')));
    await carving.give('a', { tenure: TENURE });
    expect(carving.tenure).not.toBe(TENURE);
    const unkept = new Carving('r');
    await unkept.give('a', { tenure: TENURE });
    expect(unkept.tenure).toBe(TENURE);
  });

  it('is given to one session at a time, which asks twice for one tenure', async () => {
    const path = join(scratch(), 'r.carving');
    const carving = new Carving('r', new TenureRecord(path));
    const both = [carving.give('a'), carving.give('a')];
    expect(carving.holder).toBeUndefined();
    expect(await codeOf(() => carving.give('b'))).toBe('ERR_REGION_CARVED');
    await both[0];
    const { tenure } = carving;
    await both[1];
    expect(carving.tenure).toBe(tenure);
    expect(await new TenureRecord(path).read()).toBe(tenure);
    expect(await codeOf(() => carving.give('b'))).toBe('ERR_REGION_CARVED');
  });

  it('is not for a session that ended while it was being given it', async () => {
    const path = join(scratch(), 'r.carving');
    const carving = new Carving('r', new TenureRecord(path));
    const ended = codeOf(() => carving.give('a'));
    await Promise.resolve(); // What a is given is being written.
    carving.take('a');
    const next = carving.give('b');
    expect(await ended).toBe('ERR_SESSION_ENDED');
    await next;
    expect(carving.holder).toBe('b');
    expect(await new TenureRecord(path).read()).toBe(carving.tenure);
  });

  it('is not waited for where the region was made just now, but comes', async () => {
    const record = new TenureRecord(join(scratch(), 'r.carving'));
    const carving = new Carving('r', record, true);
    await carving.give('a');
    expect(await record.read()).toBeUndefined();
    await carving.settled();
    expect(await record.read()).toBe(carving.tenure);
    carving.take('a');
    await carving.give('b');
    expect(await record.read()).toBe(carving.tenure);
  });

  it('is waited for by a sync, which tries again where it could not be kept', async () => {
    const folder = join(scratch(), 'missing');
    const record = new TenureRecord(join(folder, 'r.carving'));
    const carving = new Carving('r', record, true);
    await carving.give('a');
    expect(carving.holder).toBe('a');
    expect(await codeOf(() => carving.kept())).toBe('ERR_IO');
    await carving.settled();
    mkdirSync(folder);
    await carving.kept();
    expect(await record.read()).toBe(carving.tenure);
  });

  it('is given to nobody while it cannot be kept, and stays free', async () => {
    const folder = join(scratch(), 'missing');
    const carving = new Carving('r', new TenureRecord(join(folder, 'r.carving')));
    expect(await codeOf(() => carving.give('a'))).toBe('ERR_IO');
    expect([carving.holder, carving.tenure]).toEqual([undefined, null]);
    expect(carving.isFreeFor('b')).toBe(true);
    mkdirSync(folder);
    await carving.give('b');
    expect(carving.holder).toBe('b');
  });
});
