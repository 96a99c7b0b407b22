import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ServeProcess } from '../helpers/cli.js';
import { scratch } from '../helpers/scratch.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const library = new URL('../../dist/index.js', import.meta.url).href;

function block(language: string, marker: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)];
  const found = blocks.find(([, name, text = '']) => name === language && text.includes(marker));
  return found?.[2] ?? '';
}

describe('the README', () => {
  it('has an example for TypeScript that runs as it stands', () => {
    const text = block('ts', 'Appliance.open');
    expect(text).toContain("from 'farpage'");
    // What a compiler makes of it for this Node: the module's name and `await using`.
    const handles = [...text.matchAll(/await using (\w+)/g)].map(([, name]) => name);
    const closing = handles.reverse().map((name) => `await ${name}.close();`);
    const plain = text
      .replace("'farpage'", JSON.stringify(library))
      .replaceAll('await using', 'const');
    const folder = scratch();
    const script = join(folder, 'example.mjs');
    writeFileSync(script, [plain, ...closing].join('\n'));
    const env = { ...process.env, XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder };
    const run = spawnSync(process.execPath, [script], { env, timeout: 20_000 });
    expect([run.status, run.stderr.toString()]).toEqual([0, '']);
    expect(run.stdout.toString()).toBe('far memory\n');
  });

  it('names commands and options that there are', async () => {
    const lines = block('sh', 'farpage serve').split('\n');
    const commands = lines.flatMap(
      (line) => /(?:^|\| )farpage ([\w-]+)(.*?)(?:[#|]|$)/.exec(line) ?? [],
    );
    expect(commands.length).toBeGreaterThan(6 * 3);
    const serve = await ServeProcess.start(scratch());
    for (const line of lines) {
      const [, command, rest = ''] = /(?:^|\| )farpage ([\w-]+)(.*?)(?:[#|]|$)/.exec(line) ?? [];
      if (command === undefined) continue;
      const help = (await serve.run([command, '--help'])).stdout.toString();
      for (const [option] of rest.matchAll(/--[a-z-]+/g)) expect(help).toContain(option);
    }
  });
});
