/** `farpage pin` and `farpage unpin`: ranges whose pages stay in memory. */
import { Command } from 'commander';
import { rangeQueryOf } from '../../control/range-query.js';
import type { Pins } from '../../control/schema.js';
import { formatSize } from '../../units.js';
import type { Shell } from '../options.js';
import { rangeCommand } from '../range-command.js';

/** Ranges that a line names. */
const NAMED_MAX = 8;

function describe({ region, ranges }: Pins): string {
  if (ranges.length === 0) return `${region}: nothing is pinned`;
  const total = ranges.reduce((sum, { length }) => sum + length, 0);
  const named = ranges.slice(0, NAMED_MAX).map(({ offset, length }) => `${offset}+${length}`);
  const more = ranges.length > NAMED_MAX ? `, and ${ranges.length - NAMED_MAX} more` : '';
  return `${region}: ${formatSize(total)} pinned (offset+length ${named.join(', ')}${more})`;
}

export function pinCommand(shell: Shell): Command {
  const command = new Command('pin')
    .description('keep the pages of a range in memory, and bring them near')
    .option('--lazy', 'those that are absent come when they are touched')
    .option('--list', 'change nothing, and list what is pinned');
  return rangeCommand<{ lazy?: true; list?: true }, Pins>(command, shell, {
    call: (control, { wait, params, range }, { lazy = false, list = false }) =>
      list
        ? control.call('pins', { ...wait, params })
        : control.call('pin', { ...wait, params, body: { ...range, lazy } }),
    describe,
  });
}

export function unpinCommand(shell: Shell): Command {
  const command = new Command('unpin').description(
    'let the pages of a range leave memory like others again',
  );
  return rangeCommand<object, Pins>(command, shell, {
    call: (control, { wait, params, range }) =>
      control.call('unpin', { ...wait, params, query: rangeQueryOf(range) }),
    describe,
  });
}
