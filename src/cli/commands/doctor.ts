/** `farpage doctor`: what this machine offers, and what each lack costs. */
import { Command } from 'commander';
import { FarpageError } from '../../errors.js';
import { examine, type Finding } from '../machine.js';
import type { Shell } from '../options.js';
import { fitTable } from '../table.js';

const MARK = { good: 'ok', lacking: 'lacks', broken: 'BROKEN' } as const;

export function doctorCommand(shell: Shell): Command {
  return new Command('doctor')
    .description('tell what this machine offers and what each lack costs')
    .option('--json', 'print JSON, one object on a line')
    .action(async (options: { json?: true }) => {
      const findings: Finding[] = await examine();
      if (options.json) {
        for (const finding of findings) shell.out.object(finding);
      } else {
        const rows = findings.map(({ what, found, verdict }) => [MARK[verdict], what, found]);
        shell.out.line(await fitTable(rows, { columns: shell.out.width, text: 2 }));
        // Below it: a table with whole sentences is as wide as the longest two of them.
        const lacks = findings.filter(({ verdict }) => verdict !== 'good');
        if (lacks.length > 0) shell.out.line('');
        for (const { what, costs } of lacks) shell.out.line(`${what}: ${costs}`);
      }
      const broken = findings.filter(({ verdict }) => verdict === 'broken');
      if (broken.length === 0) return;
      throw new FarpageError('ERR_UNSUPPORTED', broken.map(({ what }) => what).join(', '));
    });
}
