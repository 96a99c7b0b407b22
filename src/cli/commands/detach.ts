/** `farpage detach`: a copy lets its source go. */
import { Command } from 'commander';
import { type ConnectionOptions, regionTarget, type Shell, withConnection } from '../options.js';

export function detachCommand(shell: Shell): Command {
  const command = new Command('detach')
    .description('let the source of a copy go, once no page needs it (see prefetch)')
    .argument('<region>', 'name of the copy');
  return withConnection(command).action(async (name: string, options: ConnectionOptions) => {
    const { control, patience, region } = regionTarget(name, options, shell);
    const reply = await control.call('detachSource', { ...patience, params: { region } });
    if (options.json) shell.out.object(reply);
    else shell.out.line(`${region}: all ${reply.pages} pages are here, its source may go`);
  });
}
