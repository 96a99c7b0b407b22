import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const build = fileURLToPath(new URL('../../src/native/build.mjs', import.meta.url));

function buildWith(env: NodeJS.ProcessEnv, words: string[] = []) {
  const options = { encoding: 'utf8', env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [build, ...words], options);
  return { status, stdout, lines: stderr.trimEnd().split('\n') };
}

describe('the build of the addon', () => {
  it.each([
    [{ CXX: 'no-such-compiler' }, /no C\+\+ compiler: no-such-compiler .*apt-get install/],
    [{ CXX: 'cat' }, /cat does not compile C\+\+20/],
    [{ CXX: 'true', MAKE: 'no-such-make' }, /no make; .*apt-get install/],
  ])('says in one line what is missing with %j', (env, line) => {
    const run = buildWith(env);
    expect(run.status).toBe(1);
    expect(run.stdout).toBe('');
    expect(run.lines).toHaveLength(1);
    expect(run.lines[0]).toMatch(line);
  });

  it('refuses a tree that it does not know', () => {
    const run = buildWith({}, ['--tree', 'toString']);
    expect([run.status, run.lines.length]).toEqual([1, 1]);
    expect(run.lines[0]).toContain('release,dev,asan,tsan');
  });
});
