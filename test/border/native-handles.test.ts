/** The addon's own handles: what each call does on closed, forged, foreign and wrong ones. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Nic } from '../../src/fabric/nic.js';
import type {
  NativeBinding,
  PagerHandle,
  ProtectionDomainHandle,
  RegionHandle,
} from '../../src/native/binding.js';
import { BINDING_VERSION, fromNative, native } from '../../src/native/load.js';
import { codeOf } from '../helpers/codes.js';
import { openFiles } from '../helpers/open-files.js';
import { patternFile, scratch } from '../helpers/scratch.js';

const PAGER = { memoryBytes: 2 ** 20, fillThreads: 1, readAheadBytes: 0 };
const NIC = { threads: 1, pollUs: 0, connectionsMax: 4 };
const ANONYMOUS = {
  lengthBytes: 8192,
  source: { kind: 'zero' },
  access: 'read-write',
  residentBytes: 0,
} as const;
const WHOLE = { offset: 0, lengthBytes: 8192 };
const PROVENANCE = { ...WHOLE, runs: 1, copy: false, keep: '', base: 'fill' } as const;

/** The paths of the files that this process has open. */
function openPaths(): string[] {
  return openFiles('self').map(({ path }) => path);
}

function openAll(binding: NativeBinding) {
  const pager = binding.pagerOpen(PAGER);
  const region = binding.regionOpenStaged(pager, ANONYMOUS);
  const nic = binding.nicOpen(pager, NIC);
  const domain = binding.protectionDomainOpen(nic, { connectionsMax: 2 });
  const { address } = binding.regionStats(region);
  const registered = { address, lengthBytes: 8192, access: 'read-write' } as const;
  const memoryRegion = binding.protectionDomainRegister(domain, registered);
  const close = () => {
    binding.protectionDomainClose(domain);
    binding.nicClose(nic);
    binding.regionClose(region);
    binding.pagerClose(pager);
  };
  return { pager, region, nic, domain, memoryRegion, registered, close };
}

describe('the binding', () => {
  it('is of the version that the loader wants, and frozen', () => {
    const binding = native();
    expect(binding.bindingVersion).toBe(BINDING_VERSION);
    expect(binding.errorCodes[0]).toBe('OK');
    expect(Object.isFrozen(binding)).toBe(true);
    expect(native()).toBe(binding);
  });

  it('has failures that become FarpageErrors, and bugs that stay what they are', () => {
    const failure = Object.assign(new Error('x'), { code: 'ERR_IO', errno: 5, context: 'pread' });
    expect(fromNative(failure)).toMatchObject({ code: 'ERR_IO', cause: failure });
    expect(String(fromNative(failure))).toContain('pread: i/o error (EIO)');
    const bug = new TypeError('no such argument');
    expect(fromNative(bug)).toBe(bug);
    expect(fromNative('text')).toBe('text');
  });
});

describe('closing', () => {
  it('is idempotent for every handle, in any number', () => {
    const binding = native();
    const all = openAll(binding);
    binding.memoryRegionDeregister(all.memoryRegion.handle);
    binding.memoryRegionDeregister(all.memoryRegion.handle);
    all.close();
    all.close();
    binding.memoryRegionDeregister(all.memoryRegion.handle);
  });

  it('leaves calls that fail with a code and touch nothing', async () => {
    const binding = native();
    const { pager, region, domain, registered, close } = openAll(binding);
    const reserve = (of: ProtectionDomainHandle) =>
      binding.protectionDomainReserve(of, { region, lengthBytes: 1, access: 'read-only' });
    close();
    const calls: [string, () => unknown][] = [
      ['regionOpenStaged', () => binding.regionOpenStaged(pager, ANONYMOUS)],
      ['regionStats', () => binding.regionStats(region)],
      ['regionWriteBack', () => binding.regionWriteBack(region, { ...WHOLE, durable: true })],
      ['regionReclaim', () => binding.regionReclaim(region, { ...WHOLE, dirty: 'keep' })],
      ['regionInvalidate', () => binding.regionInvalidate(region, { ...WHOLE, dirty: 'keep' })],
      ['regionProtect', () => binding.regionProtect(region, { ...WHOLE, access: 'none' })],
      ['regionProtection', () => binding.regionProtection(region)],
      ['regionRestoreProtection', () => binding.regionRestoreProtection(region, [])],
      ['regionProvenance', () => binding.regionProvenance(region, PROVENANCE)],
      ['regionPageMap', () => binding.regionPageMap(region, { ...WHOLE, cells: 2 })],
      ['protectionDomainRegister', () => binding.protectionDomainRegister(domain, registered)],
      ['protectionDomainReserve', () => reserve(domain)],
      ['accountOpen', () => binding.accountOpen(pager, { bytesMax: 1 })],
    ];
    const codes = await Promise.all(calls.map(async ([name, run]) => [name, await codeOf(run)]));
    const allowed = ['ERR_CLOSED', 'ERR_REGION_REMOVED'];
    expect(codes.filter(([, code = '']) => !allowed.includes(code))).toEqual([]);
  });

  it('frees the memory of a region in the memory directory, whoever has its handle', () => {
    const binding = native();
    const directory = mkdtempSync('/dev/shm/farpage-test-');
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const pager = binding.pagerOpen(PAGER);
    const memory = { directory, id: 'a'.repeat(32), bootId: 'boot', life: 0, nextLife: 1 };
    const region = binding.regionOpenStaged(pager, { ...ANONYMOUS, memory });
    const nic = binding.nicOpen(pager, NIC);
    const domain = binding.protectionDomainOpen(nic, { connectionsMax: 2 });
    const access = 'read-write';
    expect(binding.regionStats(region).allocatedBytes).toBe(8192);
    binding.protectionDomainReserve(domain, { region, lengthBytes: 8192, access });
    const held = () => openPaths().filter((path) => path.startsWith(directory));
    expect(held().length).toBeGreaterThan(1);
    binding.regionClose(region);
    expect(held()).toEqual([]);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(directory);
    binding.regionClose(region); // The handle was not collected.
    binding.protectionDomainClose(domain);
    binding.nicClose(nic);
    binding.pagerClose(pager);
  });

  it('leaves a NIC that neither listens nor opens domains', async () => {
    const pager = native().pagerOpen(PAGER);
    const nic = Nic.open(pager, NIC);
    nic.close();
    nic.close();
    const calls = [
      () => nic.listenTcp({ host: '127.0.0.1', port: 0 }),
      () => nic.listenUnix(join(scratch(), 's')),
      () => nic.protectionDomain({ connectionsMax: 1 }),
    ];
    for (const call of calls) expect(await codeOf(call)).toBe('ERR_CLOSED');
    native().pagerClose(pager);
  });
});

describe('wrong arguments', () => {
  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a number', 1],
    ['an object', {}],
    ['an object with the prototype of a handle', 'forged'],
  ])('are refused for a handle: %s', async (_, value) => {
    const binding = native();
    const all = openAll(binding);
    const forged = Object.create(Object.getPrototypeOf(all.region) as object) as RegionHandle;
    const handle = (value === 'forged' ? forged : value) as RegionHandle;
    expect(() => binding.regionStats(handle)).toThrow();
    expect(() => binding.pagerStats(handle as unknown as PagerHandle)).toThrow();
    // One kind of handle is none of another kind.
    expect(() => binding.regionStats(all.nic as unknown as RegionHandle)).toThrow();
    all.close();
  });

  it('are refused for addresses that are no live mapping of a region', async () => {
    const binding = native();
    const { domain, region, registered, close } = openAll(binding);
    const register = (change: object) =>
      codeOf(() => binding.protectionDomainRegister(domain, { ...registered, ...change }));
    expect(await register({})).toBe('nothing');
    for (const change of [
      { address: 0n },
      { address: 4096n },
      { address: registered.address - 4096n },
      { address: registered.address + 8192n },
      { address: 2n ** 64n - 4096n },
      { lengthBytes: 8193 },
      { lengthBytes: 2 ** 40 },
    ]) {
      expect(await register(change), JSON.stringify(change, String)).not.toBe('nothing');
    }
    binding.regionClose(region);
    expect(await register({})).not.toBe('nothing');
    close();
  });

  it('are refused for reservations that are longer, or promise more, than the region', async () => {
    const binding = native();
    const { pager, domain, close } = openAll(binding);
    const options = { ...ANONYMOUS, access: 'read-only', reserve: true } as const;
    const region = binding.regionOpenStaged(pager, options);
    const reserve = (change: object) =>
      codeOf(() => {
        const common = { region, lengthBytes: 8192, access: 'read-only' } as const;
        binding.protectionDomainReserve(domain, { ...common, ...change });
      });
    expect(await reserve({})).toBe('nothing');
    expect(await reserve({ lengthBytes: 8193 })).toBe('ERR_BOUNDS');
    expect(await reserve({ access: 'read-write' })).toBe('ERR_ACCESS');
    expect(await reserve({ region: domain })).toBe('ERR_ARGUMENT');
    expect(binding.regionStats(region)).toMatchObject({ allocatedBytes: 0, address: 0n });
    binding.regionClose(region);
    expect(await reserve({})).toBe('ERR_REGION_REMOVED');
    close();
  });

  it('are refused for files with the code that tells why', async () => {
    const binding = native();
    const pager = binding.pagerOpen(PAGER);
    const folder = scratch();
    const path = patternFile(folder, { length: 10_000 });
    const base = {
      path,
      offset: 0,
      lengthBytes: 0,
      access: 'read-write',
      writeBehind: false,
      residentBytes: 0,
    } as const;
    const open = (change: object) =>
      codeOf(() => binding.regionClose(binding.regionOpenFile(pager, { ...base, ...change })));
    expect(await open({})).toBe('nothing');
    expect(await open({ path: join(folder, 'none') })).toBe('ERR_FILE_NOT_FOUND');
    expect(await open({ path: folder })).toBe('ERR_FILE_KIND');
    expect(await open({ path: '/dev/zero' })).toBe('ERR_FILE_KIND');
    expect(await open({ path: patternFile(folder, { length: 0, name: 'e' }) })).toBe(
      'ERR_FILE_EMPTY',
    );
    expect(await open({ offset: 12_288 })).toBe('ERR_RANGE');
    expect(await open({ lengthBytes: 2 ** 52 })).toBe('ERR_RANGE');
    expect(await open({ lengthBytes: 2 ** 52, known: true })).toBe('ERR_FILE_CHANGED');
    expect(await open({ lengthBytes: 5000, known: true })).toBe('ERR_FILE_CHANGED');
    expect(await open({ offset: 1 })).toBe('ERR_ALIGNMENT');
    binding.pagerClose(pager);
  });
});

it('serves a worker that is terminated in the middle, and comes again', async () => {
  const library = new URL('../../dist/index.js', import.meta.url).href;
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { Appliance, connect } = await import(workerData.library);
      const appliance = await Appliance.open(workerData.options);
      const client = await connect('farpage+unix:' + workerData.options.socket);
      const region = await client.allocate({ size: '1MiB' });
      await region.write(0, Buffer.from('x'));
      parentPort.postMessage('ready');
      for (;;) await region.read(0, 4096);
    })();`;
  for (let round = 0; round < 3; round += 1) {
    const folder = scratch();
    const options = { socket: join(folder, 's'), stateDirectory: join(folder, 'state') };
    const worker = new Worker(code, { eval: true, workerData: { library, options } });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    expect(await worker.terminate()).toBe(1);
  }
  const all = openAll(native());
  expect(native().regionStats(all.region).size).toBe(8192);
  all.close();
});
