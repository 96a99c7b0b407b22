/** The command line: which commands there are, and how a run of one of them ends. */
import { Command, CommanderError } from 'commander';
import { FarpageError } from '../errors.js';
import { ENDED, EXIT, exitCodeOf } from './exit-codes.js';
import type { Shell } from './options.js';

type Loader = () => Promise<(shell: Shell) => Command>;

/** Each loads only what it needs: a start has 150 ms, and one module costs about one of them. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, Loader>>>> = {
  Serving: {
    serve: async () => (await import('./commands/serve.js')).serveCommand,
    recover: async () => (await import('./commands/recover.js')).recoverCommand,
    doctor: async () => (await import('./commands/doctor.js')).doctorCommand,
  },
  Regions: {
    create: async () => (await import('./commands/create.js')).createCommand,
    export: async () => (await import('./commands/export.js')).exportCommand,
    detach: async () => (await import('./commands/detach.js')).detachCommand,
    protect: async () => (await import('./commands/protect.js')).protectCommand,
    rm: async () => (await import('./commands/rm.js')).rmCommand,
  },
  Bytes: {
    read: async () => (await import('./commands/read.js')).readCommand,
    write: async () => (await import('./commands/write.js')).writeCommand,
    flush: async () => (await import('./commands/flush.js')).flushCommand,
    sync: async () => (await import('./commands/sync.js')).syncCommand,
  },
  Memory: {
    prefetch: async () => (await import('./commands/prefetch.js')).prefetchCommand,
    'working-set': async () => (await import('./commands/working-set.js')).workingSetCommand,
    pin: async () => (await import('./commands/pin.js')).pinCommand,
    unpin: async () => (await import('./commands/pin.js')).unpinCommand,
    promote: async () => (await import('./commands/move-pages.js')).promoteCommand,
    demote: async () => (await import('./commands/move-pages.js')).demoteCommand,
    reclaim: async () => (await import('./commands/reclaim.js')).reclaimCommand,
    invalidate: async () => (await import('./commands/invalidate.js')).invalidateCommand,
  },
  Looking: {
    regions: async () => (await import('./commands/regions.js')).regionsCommand,
    stat: async () => (await import('./commands/stat.js')).statCommand,
    provenance: async () => (await import('./commands/provenance.js')).provenanceCommand,
    exports: async () => (await import('./commands/exports.js')).exportsCommand,
    receipt: async () => (await import('./commands/receipt.js')).receiptCommand,
    tiers: async () => (await import('./commands/tiers.js')).tiersCommand,
    top: async () => (await import('./commands/top.js')).topCommand,
  },
  Trying: {
    demo: async () => (await import('./commands/demo.js')).demoCommand,
    bench: async () => (await import('./commands/bench.js')).benchCommand,
  },
};

async function build(shell: Shell, wanted: string | undefined): Promise<Command> {
  const program = new Command('farpage')
    .description('lends regions of memory, backed by files, over one-sided RDMA operations')
    .helpCommand(true)
    .showSuggestionAfterError(true);
  const known = Object.values(GROUPS).some((loaders) => Object.hasOwn(loaders, wanted ?? ''));
  for (const [group, loaders] of Object.entries(GROUPS)) {
    for (const [name, load] of Object.entries(loaders)) {
      if (known && name !== wanted) continue;
      program.addCommand((await load())(shell).helpGroup(`${group}:`));
    }
  }
  program.option('-V, --version', 'print the version').on('option:version', () => {
    throw new CommanderError(EXIT.done, 'farpage.version', '');
  });
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => shell.out.line(text.trimEnd()),
      // The thrown error is told once, by whoever catches it.
      outputError: () => {},
      writeErr: () => {},
    });
  }
  return program;
}

/** Whether a stream or timer ended because the user interrupted. */
function isInterrupt(error: unknown, { signal }: Shell): boolean {
  return signal.aborted && error instanceof Error && error.name === 'AbortError';
}

/** What commander says of these names what is wrong, and not what would do. */
const ASKS_FOR_HELP: readonly string[] = [
  'commander.missingArgument',
  'commander.excessArguments',
  'commander.unknownOption',
  'commander.unknownCommand',
  'commander.optionMissingArgument',
];

/** What is wrong with a command line, in a line. */
function usageOf({ code, message }: CommanderError, argv: readonly string[]): string {
  // Of `help nope` commander has no sentence.
  if (code === 'commander.help' && argv[0] === 'help') return `unknown command '${argv[1]}'`;
  const said = message.replace(/^error: /, '').replaceAll('\n', ' ');
  if (!ASKS_FOR_HELP.includes(code)) return said;
  const command = code === 'commander.unknownCommand' ? '' : `${argv[0]} `;
  return `${said}; see \`farpage ${command}--help\``;
}

/** Runs one command line (without node and script) and returns the exit code. */
export async function run(argv: readonly string[], shell: Shell): Promise<number> {
  const code = await runCommand(argv, shell);
  if (code !== EXIT.done) return code;
  try {
    await shell.out.flush();
    return code;
  } catch (error) {
    shell.out.failure(error);
    return EXIT.failed;
  }
}

async function runCommand(argv: readonly string[], shell: Shell): Promise<number> {
  const { out } = shell;
  try {
    if (argv.includes('--json')) out.json = true;
    const program = await build(shell, argv[0]);
    if (argv.length === 0) {
      out.note(program.helpInformation().trimEnd());
      return EXIT.usage;
    }
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.code === 'farpage.version') {
        const { packageVersion } = await import('../control/version.js');
        out.line(packageVersion());
      }
      if (error.exitCode === 0) return EXIT.done;
      if (error.code === ENDED) {
        out.interrupted(error.message);
        return EXIT.interrupted;
      }
      out.usage(usageOf(error, argv));
      return EXIT.usage;
    }
    const failure = isInterrupt(error, shell) ? new FarpageError('ERR_ABORTED') : error;
    out.failure(failure);
    return exitCodeOf(failure);
  }
}
