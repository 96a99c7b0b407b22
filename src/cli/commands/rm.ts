/** `farpage rm`: ends regions; their files stay. */
import { Command, Option } from 'commander';
import { type ConnectionOptions, regionTarget, type Shell, withConnection } from '../options.js';

interface Options extends ConnectionOptions {
  readonly sync?: true;
  readonly discard?: true;
}

export function rmCommand(shell: Shell): Command {
  const command = new Command('rm')
    .description('remove regions; their files stay')
    .argument('<region...>', 'names of the regions')
    .addOption(new Option('--sync', 'write dirty pages back first').conflicts('discard'))
    .option('--discard', 'drop dirty pages');
  return withConnection(command).action(async (names: string[], options: Options) => {
    const dirty = options.sync ? 'sync' : options.discard ? 'discard' : 'refuse';
    for (const name of names) {
      const { control, wait, region } = regionTarget(name, options, shell);
      const call = { ...wait, params: { region }, query: { dirty } } as const;
      const reply = await control.call('remove', call);
      if (options.json) shell.out.object(reply);
    }
  });
}
