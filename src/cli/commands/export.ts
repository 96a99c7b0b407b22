/** `farpage export`: one region on a port of its own, for any RDMA program. */
import { Command, Option } from 'commander';
import type { Exported } from '../../control/schema.js';
import {
  type ConnectionOptions,
  integer,
  regionTarget,
  type Shell,
  withConnection,
} from '../options.js';

interface Options extends ConnectionOptions {
  readonly port: number;
  readonly host: string;
  readonly access: 'read-only' | 'read-write';
  readonly stop?: true;
}

export function exportCommand(shell: Shell): Command {
  const command = new Command('export')
    .description('serve a region to any RDMA program on a port of its own, without a ticket')
    .argument('<region>', 'name of the region')
    .option('--port <n>', 'TCP port; 0 picks one', integer(0, 65_535), 0)
    .option('--host <host>', 'address to bind', '127.0.0.1')
    .addOption(
      new Option('--access <access>', 'of whoever reaches the port; it asks for no ticket')
        .choices(['read-only', 'read-write'])
        .default('read-only'),
    )
    .option('--stop', 'close the port again');
  return withConnection(command).action(async (name: string, options: Options) => {
    const { control, wait, region } = regionTarget(name, options, shell);
    const { port, host, access } = options;
    if (options.stop) {
      await control.call('unexport', { ...wait, params: { region, port } });
      if (options.json) shell.out.object({ region, port, closed: true });
      return;
    }
    const body = { port, host, access };
    const exported: Exported = await control.call('export', { ...wait, params: { region }, body });
    if (options.json) shell.out.object(exported);
    else shell.out.line(`${region} on ${exported.host}:${exported.port}, ${exported.access}`);
  });
}
