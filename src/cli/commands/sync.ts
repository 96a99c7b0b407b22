/** `farpage sync`: dirty pages to the file, and durable. */
import type { Command } from 'commander';
import type { Shell } from '../options.js';
import { writeBackCommand } from '../write-back.js';

export function syncCommand(shell: Shell): Command {
  const description = 'write dirty pages to their file, if there is one, and make them durable';
  return writeBackCommand('sync', { description, shell });
}
