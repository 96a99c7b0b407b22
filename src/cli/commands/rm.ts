/** `farpage rm`: ends regions; their files stay. */
import { Command } from 'commander';
import { forEachRegion, tellFailures } from '../each-region.js';
import {
  type ConnectionOptions,
  type DirtyOptions,
  dirtyOf,
  regionTarget,
  type Shell,
  withConnection,
  withDirty,
} from '../options.js';

type Options = ConnectionOptions & DirtyOptions;

export function rmCommand(shell: Shell): Command {
  const command = new Command('rm')
    .description(
      'remove regions; their files stay, and regions with dirty pages unless told otherwise',
    )
    .argument('<region...>', 'names of the regions');
  return withConnection(withDirty(command)).action(async (names: string[], options: Options) => {
    const dirty = dirtyOf(options) ?? 'refuse';
    const targets = names.map((name) => regionTarget(name, options, shell));
    const failures = await forEachRegion(targets, async ({ control, patience, region }) => {
      const call = { ...patience, params: { region }, query: { dirty } } as const;
      const reply = await control.call('remove', call);
      if (options.json) shell.out.object(reply);
    });
    // As rm(1): a line for each that stays.
    tellFailures(failures, shell);
  });
}
