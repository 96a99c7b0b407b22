/** `farpage read --output FILE`: what FILE had is not lost for nothing. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  createReadStream,
  existsSync,
  linkSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { ServeProcess } from '../helpers/cli.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const MIB = 2 ** 20;
const LENGTH = 3 * MIB + 777;

describe('read --output', () => {
  it.each(['read-write', 'read-only'])('never cuts the %s file that it reads', async (access) => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const serve = await ServeProcess.start(folder, ['--access', access, `m=${file}`]);
    const [hard, soft] = [join(folder, 'hard'), join(folder, 'soft')];
    linkSync(file, hard);
    symlinkSync(file, soft);
    for (const output of [file, hard, soft, relative(process.cwd(), file)]) {
      const read = await serve.run(['read', 'm', '--output', output]);
      expect(read.code).toBe(2);
      expect(read.stderr).toContain(`${output} is the file that is read`);
      expect(read.stderr.trim()).not.toContain('\n');
    }
    expect(readFileSync(file).equals(patternOf(LENGTH))).toBe(true);
    expect((await serve.run(['read', 'm'])).stdout.equals(patternOf(LENGTH))).toBe(true);
  });

  it('cuts no file that is served to writers, whoever asks for whatever region', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const other = patternFile(folder, { length: 8192, name: 'other' });
    const served = ['--listen', '127.0.0.1:0', `m=${file}`, `other=${other}`];
    const serve = await ServeProcess.start(folder, served);
    // A region opens its file, and locks it, when it is first used.
    const options = { env: { FARPAGE_URL: serve.ready.tcp } };
    expect((await serve.run(['read', 'm', '--length', '1'], options)).code).toBe(0);
    const same = await serve.run(['read', 'm', '--output', file], options);
    expect(same.code).toBe(1);
    expect(same.stderr).toContain('ERR_FILE_LOCKED');
    const across = await serve.run(['read', 'other', '--output', file]);
    expect(across.code).toBe(1);
    expect(across.stderr).toContain('ERR_FILE_LOCKED');
    expect(readFileSync(file).equals(patternOf(LENGTH))).toBe(true);
  });

  it('leaves a file as it was, and makes none, where no byte came', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: LENGTH });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    expect((await serve.run(['protect', 'm', '--access', 'none'])).code).toBe(0);
    const [there, none] = [join(folder, 'there'), join(folder, 'none')];
    writeFileSync(there, 'what it had');
    for (const output of [there, none]) {
      const read = await serve.run(['read', 'm', '--output', output]);
      expect(read.code).toBe(1);
      expect(read.stderr).toContain('ERR_ACCESS');
      expect(read.stderr).not.toContain('bytes only');
    }
    expect(readFileSync(there, 'utf8')).toBe('what it had');
    expect(existsSync(none)).toBe(false);
  });

  it('says how much a file has when it fails behind the first byte', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 12 * MIB });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    expect((await serve.run(['protect', 'm', '--access', 'none', '--offset', '9MiB'])).code).toBe(
      0,
    );
    const output = join(folder, 'output');
    const read = await serve.run(['read', 'm', '--output', output]);
    expect(read.code).toBe(1);
    expect(read.stderr).toContain('ERR_ACCESS');
    expect(read.stderr).toContain(`${output} has the first ${9 * MIB} bytes only`);
    expect(readFileSync(output).equals(patternOf(9 * MIB))).toBe(true);
  });

  it('writes into the file that is there, which keeps its mode and its names', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const serve = await ServeProcess.start(folder, [`m=${file}`]);
    const output = join(folder, 'output');
    writeFileSync(output, patternOf(3 * MIB, 1));
    linkSync(output, `${output}.link`);
    chmodSync(output, 0o640);
    const { ino } = statSync(output);
    const read = await serve.json(['read', 'm', '--offset', '4096', '--output', output]);
    expect(read).toEqual({ region: 'm', offset: 4096, bytesRead: 4096, output });
    expect(readFileSync(`${output}.link`).equals(patternOf(8192).subarray(4096))).toBe(true);
    expect(statSync(output)).toMatchObject({ ino, nlink: 2, mode: 0o100640 });
    expect((await serve.run(['read', 'm', '--length', '0', '--output', output])).code).toBe(0);
    expect(statSync(output).size).toBe(0);
    const dangling = join(folder, 'dangling');
    symlinkSync(join(folder, 'made'), dangling);
    expect((await serve.run(['read', 'm', '--output', dangling])).code).toBe(0);
    expect(readFileSync(join(folder, 'made')).equals(patternOf(8192))).toBe(true);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const piped = buffer(createReadStream(pipe));
    expect((await serve.run(['read', 'm', '--output', pipe])).code).toBe(0);
    expect((await piped).equals(patternOf(8192))).toBe(true);
    const missing = await serve.run(['read', 'm', '--output', join(folder, 'no', 'file')]);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_FILE_ACCESS') });
  });
});
