import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../.ci/summary.mjs', import.meta.url));
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'farpage-summary-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function summary(statuses: string[], fileStatus = 'passed') {
  const assertionResults = statuses.map((status) => ({ status, fullName: `needs x: ${status}` }));
  const testResults = [{ name: 'a.test.ts', status: fileStatus, message: '', assertionResults }];
  writeFileSync(join(folder, 'test.json'), JSON.stringify({ testResults }));
  const run = spawnSync(process.execPath, [program, folder, 'needs x: skip'], { encoding: 'utf8' });
  return [run.status, run.stdout.trim()];
}

describe('the summary of a CI run', () => {
  it('counts, and lets known skips pass', () => {
    const told = summary(['passed', 'passed', 'skipped']);
    expect(told).toEqual([0, '2 passed, 0 failed, 1 skipped']);
  });

  it('fails for failures, unknown skips, files that did not load and runs without a test', () => {
    expect(summary(['passed', 'failed'])).toEqual([1, '1 passed, 1 failed, 0 skipped']);
    expect(summary(['passed', 'pending'])).toEqual([1, '1 passed, 1 failed, 0 skipped']);
    expect(summary([], 'failed')).toEqual([1, '0 passed, 1 failed, 0 skipped']);
    expect(summary([])).toEqual([1, '0 passed, 0 failed, 0 skipped']);
  });
});
