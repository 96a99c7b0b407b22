/** What tests share that kill an appliance and look at what the next one finds. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** Of every seeded crash test; told by each failure, and taken from FARPAGE_SEED to repeat it. */
export const SEED = Number(process.env.FARPAGE_SEED ?? Date.now() % 2 ** 31);

/** Kills of one test: few in the normal run, FARPAGE_KILLS of them in a long one. */
export const killsOf = (few: number): number => Number(process.env.FARPAGE_KILLS ?? few);

/** Whole numbers from 0 to below a bound, the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed % 0x7fff_ffff || 1;
  return (below) => {
    state = Number((BigInt(state) * 48_271n) % 0x7fff_ffffn);
    return state % below;
  };
}

/** A folder on the tmpfs that every Linux has. */
export function memoryFolder(): string {
  const path = mkdtempSync('/dev/shm/farpage-test-');
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** What a start of the machine does to a tmpfs. */
export function emptyFolder(path: string): void {
  for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true });
}

/**
 * One page's content: its version, and in every other 8-byte word what no other version has there,
 * so that a torn page shows. Zeros are version 0, and no compressor makes another one smaller.
 */
export function pageOf(version: number): Buffer {
  const page = Buffer.alloc(4096);
  page.writeDoubleLE(version);
  for (let at = 8; at < 4096; at += 8) page.writeDoubleLE(Math.sin(version * at), at);
  return page;
}

/** The version of a page, or undefined for one that is none of ours or torn. */
export function versionOf(page: Uint8Array): number | undefined {
  const bytes = Buffer.from(page);
  const version = bytes.readDoubleLE(0);
  return bytes.equals(pageOf(version)) ? version : undefined;
}
