import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'vitest';

const TEST_TIMEOUT_MS = 120_000;
const tree = process.env.FARPAGE_TREE ?? 'dev';
const program = fileURLToPath(
  new URL(`../../.build/${tree}/build/Release/native_test`, import.meta.url),
);
const names = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');

interface Run {
  status: number | null;
  output: string;
}

// Resolves whatever becomes of it: the report of one that was killed is wanted most.
function run(name: string): Promise<Run> {
  return new Promise((resolve) => {
    const options = { encoding: 'utf8', timeout: TEST_TIMEOUT_MS } as const;
    const child = execFile(program, ['--run', name], options, (error, stdout, stderr) => {
      const status = child.exitCode;
      const end = status === null ? `${error?.message}: ${child.signalCode}` : '';
      resolve({ status, output: `${stdout}${stderr}${end}` });
    });
  });
}

// Each test runs in a process of its own: one that aborts or hangs takes no other with it. Two at a
// time where they are all that runs (sanitized ones); else other files' tests run beside them.
const test = tree === 'dev' ? it : it.concurrent;

describe(`native tests (${tree})`, () => {
  for (const name of names)
    test(name, { timeout: TEST_TIMEOUT_MS + 5000 }, async ({ expect, skip }) => {
      const { status, output } = await run(name);
      expect(status, output).toBe(0);
      const reason = output.match(/^skip \S+: (.*)$/m)?.[1];
      if (reason !== undefined) skip(reason);
    });
});
