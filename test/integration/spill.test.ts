import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { RegionStat, TierList } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { openFiles } from '../helpers/open-files.js';
import { patternFile, patternOf, scratch, scratchOnDisk } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const PAGE = 4096;

interface WithSpill {
  readonly spill: { directory: string; capacityBytes?: number; reason?: string } | null;
}

const spillOf = ({ ready }: ServeProcess) => (ready as unknown as WithSpill).spill;

/** Files without a name that a process has open below a folder. */
function unnamedFiles(pid: number, folder: string): string[] {
  const paths = openFiles(pid).map(({ path }) => path);
  return paths.filter((path) => path.startsWith(`${folder}/#`));
}

async function regionOf(serve: ServeProcess, size: number) {
  const client = await connectClient(serve.ready.control);
  return await client.allocate({ name: 'r', size, fill: 'zero' });
}

/** Writes pages one after the other, so that each is acknowledged before the next. */
async function writePages(region: Awaited<ReturnType<typeof regionOf>>, bytes: Buffer) {
  for (let offset = 0; offset < bytes.length; offset += 64 * PAGE) {
    await region.write(offset, bytes.subarray(offset, offset + 64 * PAGE));
    await region.fence();
  }
}

describe('without a tier named', () => {
  it('dirty pages beyond the memory go to a file without a name in the state folder', async () => {
    const folder = scratchOnDisk();
    const state = join(folder, 'state');
    const serve = await ServeProcess.start(folder, ['--memory', '1MiB']);
    expect(spillOf(serve)?.directory).toBe(state);
    expect(spillOf(serve)?.capacityBytes).toBeGreaterThan(0);
    expect(spillOf(serve)?.capacityBytes).toBeLessThanOrEqual(16 * MIB);
    const region = await regionOf(serve, 8 * MIB);
    await region.read(0, 16 * PAGE);
    expect(unnamedFiles(serve.ready.pid, state)).toEqual([]);
    const bytes = patternOf(8 * MIB);
    await writePages(region, bytes);
    expect(unnamedFiles(serve.ready.pid, state)).toHaveLength(1);
    const { tiers } = await serve.json<TierList>(['tiers']);
    expect(tiers).toMatchObject([{ kind: 'file', directory: state }]);
    expect(tiers[0]?.pages).toBeGreaterThan((6 * MIB) / PAGE);
    expect(Buffer.compare(await region.read(0, 8 * MIB), bytes)).toBe(0);
    // The only region there is has all of the tables, once nothing comes and goes any more.
    const tables = async () => {
      const { memory } = await serve.json<TierList>(['tiers']);
      const { frames } = await serve.json<RegionStat>(['stat', 'r']);
      return [frames.tables > 0, frames.tables * PAGE - memory.tableBytes];
    };
    await expect.poll(tables, { timeout: 20_000 }).toEqual([true, 0]);
    expect((await serve.run(['stat', 'r'])).stdout.toString()).toMatch(/, and \d+ of tables\n/);
    expect(readdirSync(state).filter((name) => name.startsWith('#'))).toEqual([]);
    expect(await serve.end()).toBe(0);
  });

  it('a sync reads them back into the file, which pressure never wrote', async () => {
    const folder = scratchOnDisk();
    const file = patternFile(folder, { length: 4 * MIB });
    const serve = await ServeProcess.start(folder, [`r=${file}`, '--memory', '512KiB']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    const bytes = patternOf(4 * MIB, 1);
    await writePages(region, bytes);
    expect(Buffer.compare(readFileSync(file), patternOf(4 * MIB))).toBe(0);
    await region.sync();
    expect(Buffer.compare(readFileSync(file), bytes)).toBe(0);
  });

  it('writers stop when that is full too, with a code, and the rest goes on', async () => {
    const serve = await ServeProcess.start(scratchOnDisk(), ['--memory', '128KiB']);
    const region = await regionOf(serve, 16 * MIB);
    expect(await codeOf(() => writePages(region, Buffer.alloc(16 * MIB, 7)))).toBe('ERR_NO_SPACE');
    expect(Buffer.compare(await region.read(0, 64 * PAGE), Buffer.alloc(64 * PAGE, 7))).toBe(0);
  });

  it('files that may be written behind are written, not spilled', async () => {
    const folder = scratchOnDisk();
    const file = patternFile(folder, { length: 4 * MIB });
    const words = [`r=${file}`, '--memory', '512KiB', '--write-behind'];
    const serve = await ServeProcess.start(folder, words);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    await writePages(region, patternOf(4 * MIB, 1));
    const { tiers } = await serve.json<TierList>(['tiers']);
    expect(tiers).toMatchObject([{ kind: 'file', storedPages: 0 }]);
    expect(Buffer.compare(readFileSync(file), patternOf(4 * MIB))).not.toBe(0);
  });

  it('a state directory in memory is no place for them, and that is said', async () => {
    const folder = mkdtempSync('/dev/shm/farpage-test-');
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const serve = await ServeProcess.start(folder, ['--memory', '512KiB']);
    expect(spillOf(serve)).toEqual({ directory: join(folder, 'state'), reason: 'memory' });
    const region = await regionOf(serve, 4 * MIB);
    expect(await codeOf(() => writePages(region, Buffer.alloc(4 * MIB, 7)))).toBe(
      'ERR_MEMORY_FULL',
    );
    expect((await serve.run(['tiers'])).stdout.toString()).toMatch(/no tiers/);
  });
});

describe('--tier none', () => {
  it('keeps them in memory until somebody syncs', async () => {
    const serve = await ServeProcess.start(scratch(), ['--memory', '512KiB', '--tier', 'none']);
    expect(spillOf(serve)).toBeNull();
    const region = await regionOf(serve, 4 * MIB);
    expect(await codeOf(() => writePages(region, Buffer.alloc(4 * MIB, 7)))).toBe(
      'ERR_MEMORY_FULL',
    );
  });

  it('is no tier beside others', async () => {
    const folder = scratch();
    const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    const tiers = ['--tier', 'none', '--tier', 'compressed:1MiB'];
    const { code, stderr } = await farpage(['serve', ...doors, ...tiers]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^farpage: .*"none" is no tier.*\n$/);
  });
});
