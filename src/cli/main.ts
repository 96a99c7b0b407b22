#!/usr/bin/env node
import { EXIT } from './exit-codes.js';
import { Output } from './output.js';
import { run } from './program.js';

const interrupt = new AbortController();
process.on('SIGINT', () => {
  // Who asks twice does not want to wait.
  if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
  interrupt.abort();
});

const out = new Output({ out: process.stdout, err: process.stderr });
const { env } = process;
process.exitCode = await run(process.argv.slice(2), { out, env, signal: interrupt.signal });
