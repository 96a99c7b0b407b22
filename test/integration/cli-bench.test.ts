import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { farpage } from '../helpers/cli.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** A folder of the test's own for what the benchmark makes. */
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'fp-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('farpage bench', () => {
  it('lists its measurements, also as JSON', async () => {
    const named = (await farpage(['bench', '--list'])).stdout.toString().trim().split('\n');
    const told = lines((await farpage(['bench', '--list', '--json'])).stdout.toString());
    expect(told.map(({ name, quick }) => (quick ? name : `${name} (with --full)`))).toEqual(named);
    expect(told.length).toBeGreaterThan(10);
  });

  it('measures both sides, tells the machine, keeps the result and cleans up', async () => {
    const TMPDIR = folder();
    const saved = join(folder(), 'results', 'today.jsonl');
    const words = ['--only', 'read-64b-unix-1', '--rounds', '2', '--duration', '5ms'];
    const run = await farpage(['bench', ...words, '--json', '--save', saved], { env: { TMPDIR } });
    expect(run.stderr).toBe(`appended to ${saved}\n`);
    expect(run.code).toBe(0);
    const [head, ...rows] = lines(run.stdout.toString());
    expect(head.machine).toMatchObject({ node: process.versions.node, cores: expect.any(Number) });
    expect(head.machine.load).toHaveLength(3);
    expect(rows.map(({ work }) => work)).toEqual([
      'READ 64B unix, depth 1, p50',
      'READ 64B unix, depth 1, p99',
    ]);
    for (const row of rows) {
      expect(row).toMatchObject({ name: 'read-64b-unix-1', placement: 'two-cores-polling' });
      expect(row.verdict).toMatch(/^(ok|miss|noisy)$/);
      expect(row.rounds).toHaveLength(2);
      // A round trip between two processes: neither free nor a second.
      for (const { farpage: own, raw } of row.rounds) {
        for (const us of [own, raw]) expect(us > 0.5 && us < 1e6).toBe(true);
      }
      const ratios = row.rounds.map((round: { farpage: number; raw: number }) => {
        return round.farpage / round.raw;
      });
      expect(row.ratio).toBeCloseTo((ratios[0] + ratios[1]) / 2, 9);
    }
    expect(rows[0].farpage).toBeLessThanOrEqual(rows[1].farpage);
    expect(lines(readFileSync(saved, 'utf8'))).toEqual([head, ...rows]);
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  it('shows a table, also where both sides sleep on one core', async () => {
    const placed = ['--placement', 'one-core-sleeping', '--rounds', '1', '--duration', '5ms'];
    const run = await farpage(['bench', '--only', 'fetch-add', ...placed], {
      env: { TMPDIR: folder() },
    });
    expect(run.code).toBe(0);
    expect(run.stdout.toString()).toMatch(/one-core-sleeping\n\nwork +farpage +raw +ratio +target/);
    expect(run.stdout.toString()).toMatch(
      /\nFETCH-ADD tcp, p50.* us +[\d.]+ us +[\d.]+ +<= 1\.05 x/,
    );
  });

  it('counts the bytes of a sync and leaves no file', async () => {
    const TMPDIR = folder();
    const words = ['--only', 'sync-1', '--file-size', '4MiB', '--rounds', '1', '--json'];
    const run = await farpage(['bench', ...words], { env: { TMPDIR } });
    expect(run.code).toBe(0);
    const rows = lines(run.stdout.toString()).slice(1);
    expect(rows[0]).toMatchObject({ name: 'sync-1', unit: 'ms', rounds: [expect.anything()] });
    expect(rows[0].note).toMatch(/^pwrite \d+ ms, uring \d+ ms, msync \d+ ms$/);
    // Other writers on the device count too, but what was dirty is the least.
    if (rows[1] !== undefined) expect(rows[1].farpage).toBeGreaterThanOrEqual(10 * 4096);
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  it.each([
    ['beside-sync', ['uring', 'direct', 'pwrite']],
    ['beside-cold', ['pread']],
  ])('sets %s beside raw programs under the same load', async (name, ways) => {
    const TMPDIR = folder();
    const words = ['--only', name, '--file-size', '4MiB', '--rounds', '1', '--json'];
    const run = await farpage(['bench', ...words], { env: { TMPDIR } });
    expect(run.code).toBe(0);
    const [own, raw, ...others] = lines(run.stdout.toString()).slice(1);
    expect(others).toEqual([]);
    expect(own).toMatchObject({ name, target: { of: 'ratio', most: 5 } });
    expect(own.note).toMatch(/^READs \S+ [kM]?\/s, alone \S+ [kM]?\/s; the work took \S+ m?s/);
    expect(raw).toMatchObject({ name, target: null, verdict: 'told', farpage: own.farpage });
    expect(raw.note.split('; ').map((told: string) => told.split(' ')[0])).toEqual(ways);
    for (const us of [own.raw, own.farpage, raw.raw]) expect(us > 0.5 && us < 1e6).toBe(true);
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  it('cleans up when it is interrupted', async () => {
    const TMPDIR = folder();
    const words = ['bench', '--only', 'read-64b-tcp-1', '--duration', '20s'];
    const child = spawn(process.execPath, [MAIN, ...words], {
      env: { ...process.env, TMPDIR },
      stdio: 'ignore',
    });
    const closed = once(child, 'close');
    const started = Date.now();
    // The raw client runs once the folder has the appliance's socket and some time has passed.
    while (readdirSync(TMPDIR).length === 0 && Date.now() - started < 10_000) await setTimeout(20);
    await setTimeout(1500);
    expect(readdirSync(TMPDIR)).toHaveLength(1);
    child.kill('SIGINT');
    expect(await closed).toEqual([130, null]);
    expect(readdirSync(TMPDIR)).toEqual([]);
  });

  it.each([
    [['--only', 'nothing'], 'no measurement begins with "nothing"'],
    [['--only', 'sync-1', '--placement', 'one-core-sleeping'], 'nothing of that is measured'],
    [['--rounds', '0'], 'no whole number'],
    [['--placement', 'three-cores'], 'two-cores-polling'],
  ])('refuses %j', async (words, why) => {
    const run = await farpage(['bench', ...words]);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain(why);
  });
});
