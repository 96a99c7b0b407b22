/** Errors name what they are about: the file, the region and range, the source, the option. */
import { readdirSync, rmSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { serveAppliance } from '../helpers/appliance.js';
import { farpage, type Run, ServeProcess } from '../helpers/cli.js';
import { patternFile, scratch } from '../helpers/scratch.js';

/** That a command failed with one line, of this code, which says all of these. */
function refused({ code, stderr }: Run, [error, ...said]: readonly string[]): void {
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^farpage: [^\n]*\n$/)]);
  expect(stderr).toContain(`[${error}]`);
  for (const text of said) expect(stderr).toContain(text);
}

it('a locked file is named, of however many it is one', async () => {
  const folder = scratch();
  const [free, locked] = ['free', 'locked'].map((name) => patternFile(folder, { length: 1, name }));
  const regions = [{ file: free ?? '' }, { file: locked ?? '' }];
  await serveAppliance({ regions: regions.slice(1) }, folder);
  const second = serveAppliance({ regions }, scratch());
  await expect(second).rejects.toMatchObject({ code: 'ERR_FILE_LOCKED' });
  await expect(second).rejects.toThrow(`: ${locked}: `);
});

it('an operation that was refused names region and range, and stat the file', async () => {
  const folder = scratch();
  const first = await ServeProcess.start(folder);
  await first.json(['create', 'kept', '--size', '1MiB', '--persist']);
  await first.json(['create', 'closed', '--size', '1MiB']);
  await first.json(['protect', 'closed', '--access', 'none', '--offset', '8K', '--length', '4K']);
  const range = ['--offset', '8K', '--length', '5'];
  refused(await first.run(['read', 'closed', ...range]), [
    'ERR_ACCESS',
    ': closed, offset 8192, length 5 ',
  ]);
  const written = await first.run(['write', 'closed', '--offset', '8K'], { input: 'xyz' });
  refused(written, ['ERR_ACCESS', 'closed']);
  await first.end();
  const kept = join(folder, 'state', 'regions');
  const [name = ''] = readdirSync(kept).filter((each) => each.endsWith('.pages'));
  rmSync(join(kept, name));
  const second = await ServeProcess.start(folder);
  const lost = await second.run(['read', 'kept', '--length', '5']);
  expect([lost.code, lost.stderr]).toEqual([1, expect.stringContaining('kept')]);
  expect(lost.stderr).not.toContain('Terminate');
  const { error } = await second.json<RegionStat>(['stat', 'kept']);
  expect(error?.message).toContain(join(kept, name));
});

it('a copy of what its source does not have says that the source has none', async () => {
  const serve = await ServeProcess.start(scratch());
  const from = `${serve.ready.control}?region=none`;
  const created = await serve.run(['create', 'copy', '--from', from]);
  refused(created, ['ERR_NO_SUCH_REGION', `the source, ${serve.ready.control}, has no none`]);
});

it('recover names a file that does not exist, and says when there was nothing to do', async () => {
  const folder = scratch();
  await (await ServeProcess.start(folder)).end();
  const state = ['--state', join(folder, 'state')];
  refused(await farpage(['recover', join(folder, 'none'), ...state]), [
    'ERR_FILE_NOT_FOUND',
    join(folder, 'none'),
  ]);
  const { code, stdout } = await farpage(['recover', ...state]);
  expect([code, stdout.toString()]).toEqual([0, 'nothing was left to do\n']);
});

it('serve refuses a prefix of no URL, and says when memory is more than there is', async () => {
  const folder = scratch();
  const words = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
  const { code, stderr } = await farpage(['serve', '--allow-url', 'foo', ...words]);
  expect([code, stderr]).toEqual([2, expect.stringContaining('"foo" begins no URL')]);
  const memory = Math.ceil(totalmem() / 2 ** 30) + 1;
  const serve = await ServeProcess.start(folder, ['--memory', `${memory}GiB`]);
  await expect.poll(() => serve.stderr).toMatch(`--memory ${memory} GiB is more than the `);
});
