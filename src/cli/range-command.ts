/** Commands over a range of one region after the other. */
import type { Command } from 'commander';
import type { ControlClient, WaitOptions } from '../control/http-client.js';
import { forEachRegion, tellFailures } from './each-region.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  rangeOf,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from './options.js';

/** What every call of such a command takes: whose deadline, which region, which bytes of it. */
export interface RangeCall {
  readonly wait: WaitOptions;
  readonly params: { readonly region: string };
  readonly range: ReturnType<typeof rangeOf>;
}

/** The rest of a command: names of regions, the range, a call for each, and a line of its reply. */
export function rangeCommand<Options extends object, Reply extends object>(
  command: Command,
  shell: Shell,
  each: {
    call(control: ControlClient, call: RangeCall, given: Options): Promise<Reply>;
    describe(reply: Reply): string;
  },
): Command {
  command.argument('<region...>', 'names of the regions');
  return withConnection(withRange(command)).action(
    async (names: string[], given: ConnectionOptions & RangeOptions & Options) => {
      const targets = names.map((name) => regionTarget(name, given, shell));
      const failures = await forEachRegion(targets, async ({ control, patience, region }) => {
        const call = { wait: patience, params: { region }, range: rangeOf(given) };
        const reply = await each.call(control, call, given);
        if (given.json) shell.out.object(reply);
        else shell.out.line(each.describe(reply));
      });
      tellFailures(failures, shell);
    },
  );
}
