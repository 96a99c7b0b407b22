import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const SUITES = ['native', 'border', 'property', 'fault', 'crash', 'integration', 'claims'];
// Long enough for a noisy machine; a test that waits for something names its own, shorter deadline.
const TEST_TIMEOUT_MS = 30_000;

function project(name: string, include: string[], execArgv: string[] = []) {
  // Forked processes: native threads and a pool of workers do not mix.
  const test = { name, include, execArgv, pool: 'forks' as const, testTimeout: TEST_TIMEOUT_MS };
  return { extends: true as const, test };
}

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: {
    maxWorkers: 2,
    maxConcurrency: 2,
    passWithNoTests: true,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/*.test.ts']),
      ...SUITES.map((suite) =>
        project(suite, [`test/${suite}/**/*.test.ts`], suite === 'border' ? ['--expose-gc'] : []),
      ),
    ],
  },
});
