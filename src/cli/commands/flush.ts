/** `farpage flush`: dirty pages to the file, which may still be cached. */
import type { Command } from 'commander';
import type { Shell } from '../options.js';
import { writeBackCommand } from '../write-back.js';

export function flushCommand(shell: Shell): Command {
  const description = 'write dirty pages to their file, without waiting for the device';
  return writeBackCommand('flush', { description, shell });
}
