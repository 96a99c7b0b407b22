import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { scratch } from '../helpers/scratch.js';

const TIB = 2 ** 40;
/** Together more than 47 bits of addresses can hold. */
const PLAIN = 110;
const FILES = 30;

async function value(region: ExternalRegion, offset: number): Promise<bigint> {
  return Buffer.from(await region.read(offset, 8)).readBigUInt64LE();
}

it('serves more regions of 1 TiB than there are addresses, and loses nothing', async () => {
  const folder = scratch();
  const quota = { sessionBytesMax: 2 ** 50 };
  const { url, appliance } = await serveAppliance({ quota }, folder);
  const client = await connectClient(url);
  const regions: ExternalRegion[] = [];
  for (let at = 0; at < PLAIN; at += 1) regions.push(await client.reserve({ size: TIB }));
  // Files are mapped and registered by their address when they are attached, as ever.
  for (let at = 0; at < FILES; at += 1) {
    const file = join(folder, `sparse${at}`);
    writeFileSync(file, '');
    truncateSync(file, TIB);
    appliance.create({ name: `file${at}`, file });
    regions.push(await client.attach(`file${at}`));
  }
  for (const [at, region] of regions.entries()) {
    expect(await region.fetchAdd(at * 4096, BigInt(at + 1))).toBe(0n);
    // What is dirty in a private mapping is nowhere else: its range stays until it is synced.
    if (at >= PLAIN) await region.sync();
  }
  for (const [at, region] of regions.entries()) {
    expect(await region.fetchAdd(at * 4096, 1000n)).toBe(BigInt(at + 1));
  }
  const stats = await Promise.all(regions.map((region) => region.stat()));
  expect(stats.filter(({ allocatedBytes }) => allocatedBytes !== TIB)).toEqual([]);
  const mapped = stats.filter(({ address }) => address !== null).length;
  expect(mapped).toBeLessThan(127);
  expect(mapped).toBeGreaterThan(50);
  expect(stats.every(({ state }) => state === 'ready')).toBe(true);
  // A sync and a reclaim of a region without a range.
  const parked = stats.findIndex(({ address }) => address === null);
  const receipt = await regions[parked]!.sync();
  expect(receipt).toMatchObject({ pagesWritten: 0, durable: parked >= PLAIN });
  expect(await regions[parked]!.reclaim()).toBe(0);
  expect(await value(regions[parked]!, parked * 4096)).toBe(BigInt(parked + 1001));
  // One that lost its address is attached and exported by what it is.
  const idle = stats.findLastIndex(({ address, kind }) => address === null && kind === 'mapped');
  if (idle >= 0) {
    const again = await (await connectClient(url)).attach(regions[idle]!.name);
    expect(await value(again, idle * 4096)).toBe(BigInt(idle + 1001));
  }
  // More than a process can ever map is an error of the operation, and nobody pays for it.
  const vast = await client.reserve({ name: 'vast', size: 200 * TIB });
  expect(await codeOf(() => vast.read(0, 8))).toBe('ERR_ADDRESS_SPACE');
  expect(await vast.stat()).toMatchObject({ state: 'unavailable', allocatedBytes: 0 });
  expect(await value(regions[0]!, 0)).toBe(1001n);
});
