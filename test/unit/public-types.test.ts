import { expectTypeOf, it } from 'vitest';
import type {
  Appliance,
  ApplianceOptions,
  Doors,
  Endpoints,
  ExternalRegion,
  PinnedRange,
  RecoveredFile,
  Spill,
  StartReport,
  TierSpec,
} from '../../src/index.js';

it('what public signatures name can be named by who uses them', () => {
  expectTypeOf<Appliance['start']>().toEqualTypeOf<StartReport>();
  expectTypeOf<Appliance['recovered']>().toEqualTypeOf<readonly RecoveredFile[]>();
  expectTypeOf<Appliance['spill']>().toEqualTypeOf<Spill | undefined>();
  expectTypeOf<Doors['fabric']>().toEqualTypeOf<Endpoints>();
  expectTypeOf<NonNullable<ApplianceOptions['tiers']>[number]>().toEqualTypeOf<TierSpec | string>();
  expectTypeOf<Awaited<ReturnType<ExternalRegion['pins']>>>().toExtend<readonly PinnedRange[]>();
});
