/** A request for a region that exists: what is given must be so, or it is refused. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { farpage, ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

describe('a region that exists', () => {
  it('is not served with more rights than serve was told', async () => {
    const folder = scratch();
    const file = patternFile(folder, { length: 8192 });
    const first = await ServeProcess.start(folder);
    expect((await first.run(['create', 'f', '--file', file])).code).toBe(0);
    expect((await first.run(['create', 'f', '--file', file])).code).toBe(0);
    const refused = await first.run(['create', 'f', '--file', file, '--access', 'read-only']);
    expect(refused).toMatchObject({ code: 1, stdout: Buffer.alloc(0) });
    expect(refused.stderr).toContain('f, its access is read-write, not read-only');
    expect(await first.end()).toBe(0);
    const doors = ['--socket', join(folder, 's'), '--state', join(folder, 'state')];
    const words = ['serve', ...doors, '--access', 'read-only', `f=${file}`];
    const second = await farpage(words);
    expect(second).toMatchObject({ code: 1, stdout: Buffer.alloc(0) });
    expect(second.stderr).toContain('f, its access is read-write, not read-only');
    // What the catalog says serves on, named or not.
    const third = await ServeProcess.start(folder, [`f=${file}`]);
    expect(await third.json(['stat', 'f'])).toMatchObject({ access: 'read-write' });
  });

  it('is not there when its maker could not have attached it', async () => {
    const { appliance, url } = await serveAppliance({ quota: { attachmentsMax: 2 } });
    const client = await connectClient(url);
    await client.allocate({ name: 'a', size: 4096 });
    await client.allocate({ size: 4096 });
    expect(await codeOf(() => client.allocate({ name: 'c', size: 4096 }))).toBe('ERR_QUOTA');
    expect(await codeOf(() => client.allocate({ size: 4096 }))).toBe('ERR_QUOTA');
    expect(appliance.regionNames.filter((name) => name !== 'a')).toEqual([
      expect.stringMatching(/^@/),
    ]);
  });

  it('keeps what it is when it is asked for with other options', async () => {
    const { appliance, url } = await serveAppliance();
    const client = await connectClient(url);
    const wanted = { name: 'n', size: 2 ** 20, persist: true } as const;
    await appliance.create({ ...wanted, resident: 65_536 });
    expect(await codeOf(() => appliance.create({ ...wanted, resident: 4096 }))).toBe(
      'ERR_REGION_EXISTS',
    );
    const asked = client.allocate({ ...wanted, access: 'read-only' });
    await expect(asked).rejects.toMatchObject({
      code: 'ERR_REGION_EXISTS',
      message: expect.stringContaining('n, its access is read-write, not read-only'),
    });
    await (await client.allocate(wanted)).write(0, Buffer.from('x'));
    expect(appliance.regions()).toMatchObject([{ name: 'n', frames: { max: 16 } }]);
  });
});
