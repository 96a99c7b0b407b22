/** The working set of a region: what is used of it, recorded and brought near after a restart. */
import type { WorkingSetReply } from '../control/schema.js';
import { parseAge } from '../units.js';
import type { Caller } from './client-session.js';
import { givenLimits, type Limits, NO_LIMITS } from './limits.js';

/** A set that was saved is brought near whenever a later process of the appliance starts. */
export class RegionWorkingSet {
  readonly #control: Caller;
  readonly #region: string;

  constructor(control: Caller, region: string) {
    this.#control = control;
    this.#region = region;
  }

  /** What was saved, or is being recorded, and how far a replay is. */
  async stat(limits: Limits = NO_LIMITS): Promise<WorkingSetReply> {
    return await this.#control.call('workingSet', { ...givenLimits(limits), ...this.#params });
  }

  /** Saves what is used from now on, once this time has passed: `2m`, or milliseconds. */
  async record(time: string | number, limits: Limits = NO_LIMITS): Promise<WorkingSetReply> {
    const body = { action: 'record', recordMs: parseAge(time) } as const;
    return await this.#control.call('useWorkingSet', {
      ...givenLimits(limits),
      ...this.#params,
      body,
    });
  }

  /** Saves what was used so far and is in memory. ERR_ARGUMENT where there is nothing. */
  async save(limits: Limits = NO_LIMITS): Promise<WorkingSetReply> {
    const body = { action: 'save' } as const;
    return await this.#control.call('useWorkingSet', {
      ...givenLimits(limits),
      ...this.#params,
      body,
    });
  }

  /** Brings what was saved near in the background. ERR_ARGUMENT where nothing was. */
  async replay(limits: Limits = NO_LIMITS): Promise<WorkingSetReply> {
    const body = { action: 'replay' } as const;
    return await this.#control.call('useWorkingSet', {
      ...givenLimits(limits),
      ...this.#params,
      body,
    });
  }

  /** Deletes what was saved. */
  async forget(limits: Limits = NO_LIMITS): Promise<WorkingSetReply> {
    return await this.#control.call('forgetWorkingSet', {
      ...givenLimits(limits),
      ...this.#params,
    });
  }

  get #params() {
    return { params: { region: this.#region } };
  }
}
