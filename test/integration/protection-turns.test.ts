import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { openRegions } from '../../src/appliance/open-regions.js';
import { resolveOptions } from '../../src/appliance/options.js';
import { validate } from '../../src/control/message.js';
import { regionBody } from '../../src/control/schema.js';
import { codeOf } from '../helpers/codes.js';
import { scratch } from '../helpers/scratch.js';

it('protects once a discard of who carves the region is done, and lets none begin', async () => {
  const folder = scratch();
  const settings = resolveOptions({ stateDirectory: folder, socket: `${folder}/s`, tiers: [] });
  const undo: (() => unknown)[] = [];
  onTestFinished(async () => {
    for (const step of undo.reverse()) await step();
  });
  const { unit } = await openRegions(settings, undo);
  const spec = validate(regionBody, { name: 'r', size: 65_536 }, 'ERR_ARGUMENT');
  const { carving, pages } = await unit.make(spec, 'unix');
  await carving.give('s');
  let end = (): void => undefined;
  const filled = new Promise<void>((resolve) => {
    end = resolve;
  });
  const done: string[] = [];
  const discard = carving.inTurn({ session: 's', turn: 1 }, async () => {
    // As long as a page of it is being filled.
    await filled;
    const { pagesInvalidated } = await pages.invalidate({ offset: 0, dirty: 'discard' });
    done.push('discarded');
    return pagesInvalidated;
  });
  const protecting = unit.protect('r', { offset: 0, length: 4096, access: 'read' });
  const told = protecting.then(() => done.push('protected'));
  await sleep(50);
  expect(pages.protection().ranges).toEqual([]);
  end();
  await Promise.all([discard, told]);
  expect(done).toEqual(['discarded', 'protected']);
  expect((await protecting).ranges).toEqual([{ offset: 0, length: 4096, access: 'read' }]);
  // Nor beside it.
  const again = unit.protect('r', { offset: 4096, length: 4096, access: 'read' });
  const late = () => carving.inTurn({ session: 's', turn: 2 }, async () => undefined);
  expect(await codeOf(late)).toBe('ERR_REGION_BUSY');
  expect((await again).ranges).toEqual([{ offset: 0, length: 8192, access: 'read' }]);
  expect(await codeOf(late)).toBe('nothing');
});
