import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const TEST_TIMEOUT_MS = 120_000;
const tree = process.env.FARPAGE_TREE ?? 'dev';
const program = fileURLToPath(
  new URL(`../../.build/${tree}/build/Release/native_test`, import.meta.url),
);
const names = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');

// Each test runs in a process of its own: one that aborts or hangs takes no other with it.
describe(`native tests (${tree})`, () => {
  for (const name of names)
    it(name, { timeout: TEST_TIMEOUT_MS + 5000 }, ({ skip }) => {
      const options = { encoding: 'utf8', timeout: TEST_TIMEOUT_MS } as const;
      const run = spawnSync(program, ['--run', name], options);
      const report = `${run.stdout}${run.stderr}${run.error?.message ?? ''}${run.signal ?? ''}`;
      expect(run.status, report).toBe(0);
      const reason = run.stdout.match(/^skip \S+: (.*)$/m)?.[1];
      if (reason !== undefined) skip(reason);
    });
});
