import { describe, expect, it } from 'vitest';
import type { ApplianceOptions } from '../../src/appliance/options.js';
import type { ExternalRegion } from '../../src/client/external-region.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { emptyFolder, memoryFolder, pageOf, versionOf } from '../helpers/crash.js';
import { patternFile, patternOf, scratch } from '../helpers/scratch.js';

const LENGTH = 2 ** 20;
const SYNCED = 5 * 4096;
const UNSYNCED = 9 * 4096;
const NAMES = ['served', 'created', 'kept', 'copy', 'plain'] as const;

/** Whether the machine is started again too, and what is left on the tmpfs by then. */
const ENDS = {
  kill: { bootId: undefined, empties: false },
  'reboot that empties the memory directory': { bootId: 'another', empties: true },
  'reboot that leaves stale memory behind': { bootId: 'another', empties: false },
} as const;

async function writeBoth(region: ExternalRegion, name: string): Promise<void> {
  await region.write(SYNCED, pageOf(1));
  await region.write(UNSYNCED, pageOf(1));
  await region.sync();
  await region.write(UNSYNCED, pageOf(2));
  if (name === 'copy') await region.read(LENGTH - 4096, 4096); // here, and never written
  await region.fence();
}

describe.each(['with', 'without'] as const)('%s a memory directory', (how) => {
  it.each(Object.entries(ENDS))('after a %s', async (_, { bootId, empties }) => {
    const source = await serveAppliance({
      regions: [{ name: 'origin', file: patternFile(scratch(), { length: LENGTH }) }],
    });
    const folder = scratch();
    const memory = memoryFolder();
    const served = patternFile(folder, { length: LENGTH, name: 'served' });
    const created = patternFile(folder, { length: LENGTH, name: 'created' });
    const words = how === 'with' ? ['--memory-dir', memory] : [];
    const serve = await ServeProcess.start(folder, [...words, served]);
    await serve.json(['create', 'created', '--file', created]);
    await serve.json(['create', 'kept', '--size', '1MiB', '--fill', 'one', '--persist']);
    const url = `${source.url}?region=origin`;
    await serve.json(['create', 'copy', '--from', url]);
    await serve.json(['create', 'plain', '--size', '1MiB']);
    const client = await connectClient(serve.ready.control);
    for (const name of NAMES) await writeBoth(await client.attach(name), name);
    await serve.end('SIGKILL');
    if (empties) emptyFolder(memory);

    const options: ApplianceOptions = {
      regions: [{ file: served }],
      ...(how === 'with' && { memoryDirectory: memory }),
      ...(bootId !== undefined && { bootId }),
    };
    const second = await serveAppliance(options, folder);
    const keeps = how === 'with' && bootId === undefined;
    const after = await connectClient(second.url);
    for (const name of NAMES) {
      const region = await after.attach(name);
      const versionAt = async (at: number) => versionOf(await region.read(at, 4096));
      const lasts = keeps || name !== 'plain';
      expect(await versionAt(SYNCED), name).toBe(lasts ? 1 : 0);
      expect(await versionAt(UNSYNCED), name).toBe(keeps ? 2 : lasts ? 1 : 0);
      const receipt = await region.receipt();
      const found = how === 'without' ? null : keeps ? 'adopted' : empties ? 'made' : 'discarded';
      // A sync of memory that nothing keeps writes nothing, and counts for nothing.
      const epoch = name === 'plain' ? 0 : 1;
      expect(receipt, name).toMatchObject({
        start: 'unclean',
        memory: found,
        lostSince: keeps ? null : epoch,
        lastLoss: keeps ? null : epoch,
        epoch: keeps ? epoch : epoch + 1,
        conflicts: { pages: 0 },
      });
      expect(await region.lostSince(epoch), name).toBe(!keeps);
      expect(receipt.kept.dirty, name).toBe(keeps ? (name === 'plain' ? 2 : 1) : 0);
    }
    // What nobody wrote: a fill value, the file's bytes, the other appliance's.
    const byteOf = async (name: string) => (await (await after.attach(name)).read(0, 1))[0];
    const first = patternOf(LENGTH)[0];
    const fresh = { served: first, created: first, kept: 0xff, copy: first, plain: 0 };
    for (const name of NAMES) expect(await byteOf(name), name).toBe(fresh[name]);
  });
});

it('knows that memory left behind by a clean end went with the machine', async () => {
  const folder = scratch();
  const memory = memoryFolder();
  const open = (bootId: string) => serveAppliance({ memoryDirectory: memory, bootId }, folder);
  const first = await open('one');
  await first.appliance.create({ name: 'plain', size: 2 ** 20 });
  const before = await (await connectClient(first.url)).attach('plain');
  await before.write(0, pageOf(3));
  await before.fence();
  await first.appliance.close();
  const second = await open('one');
  const same = await (await connectClient(second.url)).attach('plain');
  expect(await same.receipt()).toMatchObject({
    start: 'clean',
    memory: 'adopted',
    lostSince: null,
  });
  expect(versionOf(await same.read(0, 4096))).toBe(3);
  await second.appliance.close();
  const third = await open('two');
  const after = await (await connectClient(third.url)).attach('plain');
  expect(await after.receipt()).toMatchObject({
    start: 'clean',
    memory: 'discarded',
    lostSince: 0,
  });
  expect(versionOf(await after.read(0, 4096))).toBe(0);
});
