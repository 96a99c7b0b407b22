import type { InferInput, InferOutput } from 'valibot';
import { expectTypeOf, it } from 'vitest';
import type * as schema from '../../src/control/schema.js';
import type {
  Appliance,
  ApplianceOptions,
  Doors,
  Endpoints,
  Exported,
  ExternalRegion,
  InvalidateReply,
  PinnedRange,
  PrefetchReply,
  ProvenanceRun,
  Receipt,
  RecoveredFile,
  RegionOptions,
  RegionStat,
  RestartReceipt,
  Spill,
  StartReport,
  TierSpec,
  WorkingSetReply,
} from '../../src/index.js';

it('what public signatures name can be named by who uses them', () => {
  expectTypeOf<Appliance['start']>().toEqualTypeOf<StartReport>();
  expectTypeOf<Appliance['recovered']>().toEqualTypeOf<readonly RecoveredFile[]>();
  expectTypeOf<Appliance['spill']>().toEqualTypeOf<Spill | undefined>();
  expectTypeOf<Doors['fabric']>().toEqualTypeOf<Endpoints>();
  expectTypeOf<NonNullable<ApplianceOptions['tiers']>[number]>().toEqualTypeOf<TierSpec | string>();
  expectTypeOf<Awaited<ReturnType<ExternalRegion['pins']>>>().toExtend<readonly PinnedRange[]>();
});

it('what replies are in the library is what their schemas say', () => {
  expectTypeOf<RegionStat>().toEqualTypeOf<InferOutput<typeof schema.region>>();
  expectTypeOf<Receipt>().toEqualTypeOf<InferOutput<typeof schema.receipt>>();
  expectTypeOf<RestartReceipt>().toEqualTypeOf<InferOutput<typeof schema.restartReceipt>>();
  expectTypeOf<PrefetchReply>().toEqualTypeOf<InferOutput<typeof schema.prefetch>>();
  expectTypeOf<WorkingSetReply>().toEqualTypeOf<InferOutput<typeof schema.workingSet>>();
  expectTypeOf<ProvenanceRun>().toEqualTypeOf<InferOutput<typeof schema.provenanceRun>>();
  expectTypeOf<InvalidateReply>().toEqualTypeOf<InferOutput<typeof schema.invalidateReply>>();
  expectTypeOf<Exported>().toEqualTypeOf<InferOutput<typeof schema.exported>>();
  expectTypeOf<Endpoints>().toEqualTypeOf<InferOutput<typeof schema.endpoints>>();
  expectTypeOf<StartReport>().toEqualTypeOf<InferOutput<typeof schema.startReport>>();
});

it('what a region may be made of is what the control plane takes, sizes as texts too', () => {
  type Body = InferInput<typeof schema.regionBody>;
  type Sizes = 'size' | 'resident' | 'offset' | 'length';
  type Taken = { [K in keyof Body]: K extends Sizes ? number | string | undefined : Body[K] };
  expectTypeOf<RegionOptions>().toEqualTypeOf<Readonly<Taken>>();
});
