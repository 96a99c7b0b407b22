import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RegionStat } from '../../src/control/schema.js';
import { connectClient } from '../helpers/appliance.js';
import { selfSigned } from '../helpers/certificate.js';
import { ServeProcess } from '../helpers/cli.js';
import { codeOf } from '../helpers/codes.js';
import { patternOf, scratch } from '../helpers/scratch.js';
import { WebServer } from '../helpers/web-server.js';

const SIZE = 2 * 2 ** 20 + 100;

/** Bytes of a process at a virtual address, from outside. */
function memoryOf(pid: number, address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    readSync(memory, bytes, 0, length, address);
  } finally {
    closeSync(memory);
  }
  return bytes;
}

describe('promise 10: the file lies on a device outside the appliance', () => {
  it.each([
    ['all of it', [], 0, SIZE],
    ['a part of it', ['--offset', '32K', '--length', '1M'], 32_768, 2 ** 20],
  ])('and %s is served at once, at a registered virtual address', async (_, words, begin, size) => {
    const server = await WebServer.start(patternOf(SIZE));
    const expected = server.bytes.subarray(begin, begin + size);
    const serve = await ServeProcess.start(scratch());
    const made = await serve.json<RegionStat>(['create', 'r', '--file', server.url(), ...words]);
    expect(made).toMatchObject({ size, access: 'read-only', state: 'ready' });
    expect(made.file).toEqual({ path: server.url(), offset: begin });
    expect(server.ranges()).toEqual(['bytes=0-0']);

    // Registration is what gives access; nothing but what is touched is fetched.
    const client = await connectClient(serve.ready.control);
    const region = await client.attach('r');
    const at = 2 ** 19 + 5000;
    expect(Buffer.from(await region.read(at, 100)).equals(expected.subarray(at, at + 100))).toBe(
      true,
    );
    const stat = await serve.json<RegionStat>(['stat', 'r']);
    expect(stat.pages.present).toBe(1);
    expect(stat.fills).toMatchObject({ pages: 1, read: 1 });
    expect(server.ranges().length).toBe(2);

    // What clients read is what lies at the address.
    const address = BigInt(stat.address ?? 0);
    const { pid } = serve.ready;
    expect(memoryOf(pid, address + BigInt(at), 100).equals(expected.subarray(at, at + 100))).toBe(
      true,
    );
    expect(Buffer.from(await region.read(0, size)).equals(expected)).toBe(true);
    expect(memoryOf(pid, address, size).equals(expected)).toBe(true);
    const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
    expect(maps).toMatch(new RegExp(`^${stat.address?.slice(2)}-.*memfd:farpage-region`, 'm'));

    // What is here is served without the device.
    await server.stop();
    expect(Buffer.from(await region.read(0, size)).equals(expected)).toBe(true);
  });

  it('which takes no writes: the sync says so, and that a copy does', async () => {
    const server = await WebServer.start(patternOf(SIZE));
    const serve = await ServeProcess.start(scratch(), [`r=${server.url()}`]);
    const client = await connectClient(serve.ready.control);
    const region = await client.attach('r');
    expect(await codeOf(() => region.write(0, Buffer.from('x')))).toBe('ERR_ACCESS');
    const sync = await serve.run(['sync', 'r']);
    expect(sync.code).toBe(1);
    expect(sync.stderr).toContain('ERR_UNSUPPORTED');
    expect(sync.stderr).toContain('takes no writes; a copy of it (--from) keeps them here');
    const writable = ['create', 'w', '--file', server.url(), '--access', 'read-write'];
    expect((await serve.run(writable)).stderr).toContain('ERR_UNSUPPORTED');
    expect((await serve.run(['rm', 'r'])).code).toBe(0);
  });

  it('behind HTTPS, whose certificate is checked', async () => {
    const folder = scratch();
    const { key, cert } = selfSigned();
    const server = await WebServer.start(patternOf(SIZE), { key, cert });
    const trusted = join(folder, 'ca.pem');
    writeFileSync(trusted, cert);
    const trusting = await ServeProcess.start(folder, [`r=${server.url()}`], {
      NODE_EXTRA_CA_CERTS: trusted,
    });
    const read = await trusting.run(['read', 'r', '--offset', '1MiB', '--length', '1000']);
    expect(read.stdout.equals(server.bytes.subarray(2 ** 20, 2 ** 20 + 1000))).toBe(true);
    const other = await ServeProcess.start(scratch());
    const refused = await other.run(['create', 'r', '--file', server.url()]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/self-signed certificate.*ERR_FILE_ACCESS/);
  });
});
