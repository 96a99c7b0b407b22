import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { scratch } from '../helpers/scratch.js';

const FOLDER = fileURLToPath(new URL('../examples', import.meta.url));
const README = fileURLToPath(new URL('../../README.md', import.meta.url));

/** What each prints, line by line, as far as it is the same everywhere. */
const PRINTED: Readonly<Record<string, readonly (string | RegExp)[]>> = {
  'key-value.mjs': [
    '1000 keys; key 7: another value, key 8: value of key 8',
    'a key that is not there: undefined',
    /^\d+ pages of 1099511627776 bytes are in memory$/,
  ],
  'queue.mjs': ['1000 items through 64 slots between 4 processes: each came once'],
  'model-file.mjs': [
    'model: 64 MiB in 16 MiB of memory',
    /^all 64 tensors read, [\d.]+ GB\/s$/,
    /^16384 pages, 256 of them pinned; \d+ reads paged$/,
    'tensor 7 is as in the file',
  ],
};

describe('the examples', () => {
  it.each(Object.entries(PRINTED))('%s does what it says', async (name, printed) => {
    const folder = scratch();
    const env = { ...process.env, TMPDIR: folder };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [`${FOLDER}/${name}`], {
      env,
      timeout: 25_000,
    });
    expect(stderr).toBe('');
    const lines = stdout.trimEnd().split('\n');
    const wanted = printed.map((line) =>
      typeof line === 'string' ? line : expect.stringMatching(line),
    );
    expect(lines).toEqual(wanted);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('are all here, and the README names them', () => {
    const names = readdirSync(FOLDER);
    expect(names.toSorted()).toEqual(Object.keys(PRINTED).toSorted());
    const readme = readFileSync(README, 'utf8');
    for (const name of names) expect(readme).toContain(`test/examples/${name}`);
  });
});
