/** `farpage demote` and `farpage promote`: pages out of memory, and back from the tiers. */
import { Command } from 'commander';
import type { ControlClient, WaitOptions } from '../../control/http-client.js';
import { formatPages } from '../../units.js';
import {
  type ConnectionOptions,
  type RangeOptions,
  regionTarget,
  type Shell,
  withConnection,
  withRange,
} from '../options.js';

interface Call {
  readonly wait: WaitOptions;
  readonly params: { readonly region: string };
  readonly body: { readonly offset: number; readonly length?: number };
}

/** A command over ranges of regions whose reply counts pages. */
function pagesCommand<R extends object>(
  shell: Shell,
  options: {
    command: Command;
    call: (control: ControlClient, call: Call) => Promise<R>;
    pagesOf: (reply: R) => number;
  },
): Command {
  const { command, call, pagesOf } = options;
  command.argument('<region...>', 'names of the regions');
  return withConnection(withRange(command)).action(
    async (names: string[], given: ConnectionOptions & RangeOptions) => {
      for (const name of names) {
        const { control, wait, region } = regionTarget(name, given, shell);
        const { offset, length } = given;
        const body = { offset, ...(length !== undefined && { length }) };
        const reply = await call(control, { wait, params: { region }, body });
        const pages = pagesOf(reply);
        if (given.json) shell.out.object(reply);
        else shell.out.line(`${region}: ${formatPages(pages)}`);
      }
    },
  );
}

export function demoteCommand(shell: Shell): Command {
  return pagesCommand(shell, {
    command: new Command('demote').description(
      'move pages out of memory: clean ones go, dirty ones into the tiers',
    ),
    call: (control, { wait, ...rest }) => control.call('demote', { ...wait, ...rest }),
    pagesOf: ({ pagesDemoted }) => pagesDemoted,
  });
}

export function promoteCommand(shell: Shell): Command {
  return pagesCommand(shell, {
    command: new Command('promote').description(
      'bring pages back from the tiers as far as there is memory',
    ),
    call: (control, { wait, ...rest }) => control.call('promote', { ...wait, ...rest }),
    pagesOf: ({ pagesPromoted }) => pagesPromoted,
  });
}
