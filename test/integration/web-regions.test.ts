/** Regions of files behind HTTP: who may name them, what is shown of them, what a restart finds. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternOf, scratch } from '../helpers/scratch.js';
import { WebServer } from '../helpers/web-server.js';

const SIZE = 2 ** 20;

describe('a URL', () => {
  it('is named on TCP below --allow-url only, also by the redirects of its server', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    server.answer = ({ url = '' }, response) => {
      const to = new URL(url, server.origin).searchParams.get('to');
      if (to !== null) response.writeHead(302, { location: to }).end();
      return to !== null;
    };
    const allowed = ['--allow-url', server.url('/open')];
    const serve = await ServeProcess.start(scratch(), ['--listen', '127.0.0.1:0', ...allowed]);
    const client = await connectClient(serve.ready.tcp ?? '');
    const create = (path: string, more = {}) =>
      codeOf(() => client.create({ name: 'w', from: server.url(path), ...more }));
    expect(await create('/secret')).toBe('ERR_URL_NOT_ALLOWED');
    expect(await create('/openly')).toBe('ERR_URL_NOT_ALLOWED');
    expect(await create('/open/../secret')).toBe('ERR_URL_NOT_ALLOWED');
    expect(server.asked).toEqual([]);
    expect(await create('/open?to=/secret')).toBe('ERR_URL_NOT_ALLOWED');
    expect(await create('/open?to=http://127.0.0.1:1/open')).toBe('ERR_URL_NOT_ALLOWED');
    expect(server.asked.map(({ url }) => url.slice(0, 8))).toEqual(['/open?to', '/open?to']);
    expect(await create('/open', { fromTokenFile: '/etc/hostname' })).toBe('ERR_ACCESS');
    expect(await create('/open?to=/open/here')).toBe('nothing');
    expect(await codeOf(() => client.create({ name: 'f', file: server.url('/secret') }))).toBe(
      'ERR_URL_NOT_ALLOWED',
    );
    // It was allowed once; the server may not send the appliance elsewhere later either.
    const region = await client.attach('w');
    server.answer = (_, response) => {
      response.writeHead(302, { location: '/secret' }).end();
      return true;
    };
    expect(await codeOf(() => region.read(0, 1))).toBe('ERR_IO');
    expect((await region.stat()).error?.code).toBe('ERR_URL_NOT_ALLOWED');
  });

  it('says that its server answers otherwise now, and not that a device failed', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const serve = await ServeProcess.start(scratch());
    const client = await connectClient(serve.ready.control);
    const region = await client.create({ name: 'w', from: server.url() });
    server.extra = { 'content-encoding': 'gzip' };
    const attached = await client.attach('w');
    expect(await codeOf(() => attached.read(0, 1))).toBe('ERR_SOURCE_CHANGED');
    expect((await attached.stat()).error?.message).toContain('sent gzip');
    server.extra = {};
    expect((await attached.read(0, 1))[0]).toBe(patternOf(1)[0]);
    expect(region.size).toBe(SIZE);
  });

  it('shows neither its query nor the token, and has no user in it', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const folder = scratch();
    const token = join(folder, 'token');
    writeFileSync(token, 'opensesame\n');
    const serve = await ServeProcess.start(folder, [
      `served=${server.url('/f?signature=s3cret')}`,
      '--from-token-file',
      token,
    ]);
    const words = ['create', 'w', '--from', server.url('/f?signature=s3cret')];
    const made = await serve.json<RegionStat>([...words, '--from-token-file', token]);
    expect(made.from?.url).toBe(`${server.url('/f')}?…`);
    expect(server.asked.every(({ headers: { authorization } }) => authorization)).toBe(true);
    expect(server.asked[0]?.headers.authorization).toBe('Bearer opensesame');
    server.etag = '"another"';
    expect((await serve.run(['read', 'w', '--length', '1'])).stderr).toContain(
      'ERR_SOURCE_CHANGED',
    );
    const shown = (await serve.run(['regions', '--json'])).stdout.toString();
    expect(shown).toContain('ERR_SOURCE_CHANGED');
    expect(shown).not.toMatch(/s3cret|opensesame/);
    const user = await serve.run(['create', 'u', '--from', 'http://me:s3cret@127.0.0.1/f']);
    expect(user.stderr).toContain('ERR_ARGUMENT');
    expect(user.stderr).not.toContain('s3cret');
  });

  it('has the name of its file by default, and no other options of files', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const serve = await ServeProcess.start(scratch(), [server.url('/a/data%2Ebin?x=1')]);
    expect(serve.ready.regions).toEqual(['data.bin']);
    const refused = async (...words: string[]) =>
      (await serve.run(['create', 'w', ...words])).stderr.match(/\[(\w+)\]$/m)?.[1];
    const url = server.url();
    expect(await refused('--file', url, '--size', '1M')).toBe('ERR_ARGUMENT');
    expect(await refused('--file', url, '--kind', 'mapped')).toBe('ERR_ARGUMENT');
    expect(await refused('--file', url, '--offset', '2M')).toBe('ERR_RANGE');
    expect(await refused('--file', url, '--offset', '100')).toBe('ERR_ALIGNMENT');
    expect(await refused('--from', url, '--offset', '4K')).toBe('ERR_ARGUMENT');
    expect(await refused('--from', url, '--write-behind')).toBe('ERR_ARGUMENT');
  });
});

describe('a file behind HTTP', () => {
  it('that takes its time costs what needs it a deadline, and nothing else', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const { appliance, url, control } = await serveAppliance();
    await control.call('create', { body: { name: 'w', file: server.url() } });
    expect(appliance.regions().map(({ state }) => state)).toEqual(['ready']);
    const region = await (await connectClient(url)).attach('w');
    await region.read(0, 1);
    const waiting = await (await connectClient(url)).attach('w');
    server.answer = ({ headers }) => headers.range !== 'bytes=8192-12287';
    const late = codeOf(() => waiting.read(5 * 4096, 1, { timeoutMs: 20_000 }));
    const began = performance.now();
    expect((await region.read(0, 1))[0]).toBe(server.bytes[0]);
    expect((await region.read(8192, 1))[0]).toBe(server.bytes[8192]);
    expect(performance.now() - began).toBeLessThan(4000);
    expect(await late).toBe('ERR_TIMEOUT');
    server.answer = () => false;
    expect((await waiting.read(5 * 4096, 1))[0]).toBe(server.bytes[5 * 4096]);
  });

  it('is not needed by a copy that has pulled it', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    await serve.json(['create', 'c', '--from', server.url()]);
    expect((await serve.run(['detach', 'c'])).stderr).toContain('ERR_SOURCE_NEEDED');
    expect((await serve.run(['prefetch', 'c', '--wait'])).code).toBe(0);
    expect((await serve.run(['detach', 'c'])).code).toBe(0);
    await server.stop();
    await serve.end('SIGKILL');
    const again = await ServeProcess.start(folder);
    const region = await (await connectClient(again.ready.control)).attach('c');
    expect(Buffer.from(await region.read(0, SIZE)).equals(server.bytes)).toBe(true);
    expect((await region.stat()).from?.detached).toBe(true);
  });

  it('is copied for a session, whose copy ends with it', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const { appliance, url } = await serveAppliance();
    const client = await connectClient(url);
    const region = await client.allocate({ from: server.url() });
    await region.write(0, Buffer.from('mine'));
    expect(Buffer.from(await region.read(2, 4))).toEqual(
      Buffer.concat([Buffer.from('ne'), server.bytes.subarray(4, 6)]),
    );
    await client.close();
    await expect.poll(() => appliance.regions()).toEqual([]);
  });

  it('comes back after a restart as the version that it was, without being asked', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const folder = scratch();
    const serve = await ServeProcess.start(folder);
    await serve.json(['create', 'f', '--file', server.url()]);
    await serve.json(['create', 'c', '--from', server.url()]);
    const before = server.asked.length;
    await serve.end('SIGKILL');
    const again = await ServeProcess.start(folder);
    const regions = (await again.run(['regions', '--json'])).stdout.toString();
    expect(regions.match(/"state":"idle"/g)?.length).toBe(2);
    expect(server.asked.length).toBe(before);
    const client = await connectClient(again.ready.control);
    for (const name of ['f', 'c']) {
      const region = await client.attach(name);
      expect((await region.read(4096, 1))[0]).toBe(server.bytes[4096]);
      const { etag } = server;
      server.etag = '"another"';
      expect(await codeOf(() => region.read(0, 1))).toBe('ERR_SOURCE_CHANGED');
      expect((await region.read(4096, 1))[0]).toBe(server.bytes[4096]);
      server.etag = etag;
      expect((await region.read(0, 1))[0]).toBe(server.bytes[0]);
    }
    // The same request finds them; another version under the same name is another region.
    expect((await again.run(['create', 'f', '--file', server.url()])).code).toBe(0);
    server.etag = '"another"';
    expect((await again.run(['create', 'f', '--file', server.url()])).stderr).toContain(
      'ERR_REGION_EXISTS',
    );
  });
});
