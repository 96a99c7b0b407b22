/** `farpage rm`: ends regions; their files stay. */
import { Command } from 'commander';
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
    .description('remove regions; their files stay')
    .argument('<region...>', 'names of the regions');
  return withConnection(withDirty(command)).action(async (names: string[], options: Options) => {
    const dirty = dirtyOf(options) ?? 'refuse';
    for (const name of names) {
      const { control, wait, region } = regionTarget(name, options, shell);
      const call = { ...wait, params: { region }, query: { dirty } } as const;
      const reply = await control.call('remove', call);
      if (options.json) shell.out.object(reply);
    }
  });
}
