import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  type ApplianceOptions,
  defaultMemoryBytes,
  resolveOptions,
} from '../../../src/appliance/options.js';
import { QUOTA_DEFAULT, type Quota } from '../../../src/appliance/quota.js';
import { keepToken, readToken } from '../../../src/appliance/token.js';
import { codeOf } from '../../helpers/codes.js';
import { memoryFolder } from '../../helpers/crash.js';
import { scratch, scratchOnDisk } from '../../helpers/scratch.js';

const resolve = (options: ApplianceOptions) =>
  resolveOptions({ stateDirectory: scratch(), socket: '/run/s', ...options });

describe('options of an appliance', () => {
  it('have defaults that stay within the machine', () => {
    const { pager, nic, fabric, token, sessionGraceMs } = resolve({});
    expect(pager.memoryBytes).toBeGreaterThan(2 ** 20);
    expect(pager.memoryBytes % 4096).toBe(0);
    expect(defaultMemoryBytes()).toBeLessThanOrEqual(process.availableMemory());
    expect([nic.threads, fabric, token, sessionGraceMs]).toEqual([1, undefined, undefined, 10_000]);
  });

  it('open the fabric beside the control plane on TCP', () => {
    const listen = { host: '127.0.0.1', port: 7433 };
    expect(resolve({ listen }).fabric).toEqual({ host: '127.0.0.1', port: 0 });
    expect(resolve({ listen: '127.0.0.1' })).toMatchObject({ listen });
    const fabric = { host: '10.0.0.1', port: 5 };
    expect(resolve({ listen, fabric }).fabric).toEqual(fabric);
  });

  it('are known by name', async () => {
    const folder = scratch();
    const misspelt = { state: join(folder, 'state') } as ApplianceOptions;
    expect(await codeOf(() => resolve(misspelt))).toBe('ERR_ARGUMENT');
    expect(existsSync(join(folder, 'state'))).toBe(false);
    expect(() => resolve(misspelt)).toThrow('an appliance has no option state');
  });

  it.each([
    [{ memory: '1kB' }, 'ERR_SIZE'],
    [{ memory: 100 }, 'ERR_ARGUMENT'],
    [{ nicThreads: 0 }, 'ERR_ARGUMENT'],
    [{ fillThreads: 65 }, 'ERR_ARGUMENT'],
    [{ pollUs: -1 }, 'ERR_ARGUMENT'],
    [{ sessionGraceMs: 0.5 }, 'ERR_ARGUMENT'],
    [{ readAhead: '1GiB' }, 'ERR_ARGUMENT'],
    [{ root: '/nowhere/at/all' }, 'ERR_FILE_NOT_FOUND'],
    [{ tokenFile: '/nowhere/at/all' }, 'ERR_TOKEN'],
    [{ stateDirectory: '/dev/null/x' }, 'ERR_IO'],
    // A memory file would keep the beginning alone, and be another start's at the next one.
    [{ bootId: 'x'.repeat(64) }, 'ERR_ARGUMENT'],
    [{ bootId: 'ä'.repeat(32) }, 'ERR_ARGUMENT'],
    [{ bootId: '' }, 'ERR_ARGUMENT'],
    [{ bootId: 'x'.repeat(63) }, 'nothing'],
  ])('refuse %j with %s', async (options, code) => {
    expect(await codeOf(() => resolve(options))).toBe(code);
  });

  it.each([
    [null, 'the options of an appliance: an object, not null'],
    [{ listen: 5 }, 'listen: HOST:PORT, or {host, port}, not 5'],
    [{ listen: { host: 'x' } }, 'port must be 0 to 65535, not undefined'],
    [{ listen: { port: 5 } }, 'host: a text, not undefined'],
    [{ socket: 5 }, 'socket: a text, not 5'],
    [{ memory: null }, 'memory: bytes, or a text such as 4GiB, not null'],
    [{ regions: 'a.bin' }, 'regions: an array, not "a.bin"'],
    [{ regions: [null] }, 'the options of a region: an object, not null'],
    [{ tiers: 'none' }, 'tiers: an array, not "none"'],
    [{ tiers: [5] }, 'a tier: an object, not 5'],
    [{ tiers: [{ kind: 'zip' }] }, 'compressed, file, appliance, not "zip"'],
    [{ tiers: [{ kind: 'compressed' }] }, 'compressed tier: 65536 bytes at least'],
    [{ tiers: [{ kind: 'file', capacityBytes: 8192 }] }, 'the directory of a tier: a text'],
    [{ tiers: [{ kind: 'appliance', capacityBytes: 8192 }] }, 'the url of a tier: a text'],
    [{ tiers: [{ kind: 'compressed', size: 1 }] }, 'tiers of kind compressed have no size'],
    [{ quota: 5 }, 'quota: an object, not 5'],
    [{ allowUrl: 'http://x/' }, 'allowUrl: an array, not "http://x/"'],
    [{ overcommit: '2' }, 'overcommit: a number, not "2"'],
  ])('say what %j should be', async (options, said) => {
    const open = () => resolveOptions(options as ApplianceOptions);
    expect(await codeOf(open)).toBe('ERR_ARGUMENT');
    expect(open).toThrow(said);
  });

  it('take sizes of regions as text', () => {
    const { regions } = resolve({ regions: [{ file: 'f', resident: '1MiB', length: '2M' }] });
    expect(regions).toEqual([{ file: 'f', resident: 2 ** 20, length: 2 ** 21 }]);
    expect(() => resolve({ regions: [{ file: 'f', resident: '1MB' }] })).toThrow('write MiB or M');
  });

  it.each([
    [{ root: 'missing' }, 'ERR_FILE_NOT_FOUND'],
    [{ memory: 100 }, 'ERR_ARGUMENT'],
    [{ memoryDirectory: 'memory/of/regions' }, 'ERR_UNSUPPORTED'],
    [{ tiers: ['file:tier:1MiB', 'file:missing/tier:1MiB'] }, 'ERR_ARGUMENT'],
    [{ tiers: ['file:tier:1MiB', 'file:tier:1'] }, 'ERR_ARGUMENT'],
    [{ tiers: ['file:tier:1MiB'], overcommit: 0 }, 'ERR_ARGUMENT'],
  ])('that are refused make no directory: %j', async (options, code) => {
    const folder = scratchOnDisk();
    const before = process.cwd();
    process.chdir(folder);
    onTestFinished(() => process.chdir(before));
    const refused = () => resolveOptions({ stateDirectory: 'state', socket: 's', ...options });
    expect(await codeOf(refused)).toBe(code);
    expect(readdirSync(folder)).toEqual([]);
    resolveOptions({ stateDirectory: 'state', socket: 's', tiers: ['file:tier:1MiB'] });
    expect(readdirSync(folder)).toEqual(['state', 'tier']);
  });

  it('have absolute paths, wherever the process goes later', () => {
    const folder = scratch();
    const here = (name: string) => relative(process.cwd(), join(folder, name));
    const memory = memoryFolder();
    writeFileSync(join(folder, 'token'), 'a-token-of-a-test');
    const found = resolve({
      socket: here('s'),
      stateDirectory: here('state'),
      memoryDirectory: relative(process.cwd(), memory),
      tokenFile: here('token'),
      tierTokenFile: here('token'),
      tiers: [`file:${here('tier')}:1MiB`, 'farpage://elsewhere/pool'],
    });
    expect(found).toMatchObject({
      socket: join(folder, 's'),
      stateDirectory: join(folder, 'state'),
      memoryDirectory: memory,
      token: 'a-token-of-a-test',
      tiers: [{ directory: join(folder, 'tier') }, { tokenFile: join(folder, 'token') }],
    });
  });

  it('want a token only where others can reach the door, and keep the one they made', () => {
    const stateDirectory = scratch();
    const open = { listen: { host: '::', port: 0 }, stateDirectory };
    expect(resolve({ listen: { host: '::1', port: 0 }, stateDirectory }).token).toBeUndefined();
    expect(existsSync(join(stateDirectory, 'token'))).toBe(false);
    const first = resolve(open);
    expect(first.token).toMatch(/^[\w-]{43}$/);
    expect(statSync(first.tokenPath ?? '').mode & 0o777).toBe(0o600);
    expect(resolve(open).token).toBe(first.token);
  });
});

describe('quotas', () => {
  const quotaOf = (quota: unknown) => resolve({ quota: quota as Partial<Quota> }).quota;

  it('are what was given, and else the default', () => {
    expect(quotaOf(undefined)).toEqual(QUOTA_DEFAULT);
    expect(quotaOf({ sessionsMax: undefined, exportsMax: 0 })).toEqual({
      ...QUOTA_DEFAULT,
      exportsMax: 0,
    });
    expect(quotaOf({ sessionBytesMax: Number.POSITIVE_INFINITY }).sessionBytesMax).toBe(
      Number.POSITIVE_INFINITY,
    );
    // Beyond what the NIC takes of everybody.
    expect(quotaOf({ connectionsMax: 2 ** 32 }).connectionsMax).toBe(1024);
  });

  it.each([
    [{ sessionsMax: Number.NaN }, 'sessionsMax must be 0 or more, not NaN'],
    [{ sessionsMax: -1 }, 'sessionsMax must be 0 or more, not -1'],
    [{ regionsMax: 1.5 }, 'regionsMax must be 0 or more, not 1.5'],
    [{ sessionsMax: '3' }, 'sessionsMax must be 0 or more, not 3'],
    [{ sessionsMax: null }, 'sessionsMax must be 0 or more, not null'],
    [{ sesionsMax: 3 }, 'a quota has no sesionsMax'],
  ])('are not %j', async (quota, said) => {
    expect(await codeOf(() => quotaOf(quota))).toBe('ERR_ARGUMENT');
    expect(() => quotaOf(quota)).toThrow(said);
  });
});

describe('tokens', () => {
  it('are read without the white space around them', () => {
    const path = join(scratch(), 'token');
    const token = keepToken(path);
    writeFileSync(path, ` ${token}\n\n`);
    expect(readToken(path)).toBe(token);
    expect(readFileSync(path, 'utf8')).toContain(token);
  });

  it.each(['', 'short', 'with space in between it', 'ümläute-are-not-in-headers'])(
    'may not be "%s"',
    async (text) => {
      const path = join(scratch(), 'token');
      writeFileSync(path, text);
      expect(await codeOf(() => readToken(path))).toBe('ERR_TOKEN');
    },
  );
});
