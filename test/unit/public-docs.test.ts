import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
const read = (path: string) => readFileSync(join(SRC, path), 'utf8');

/** What the library's entry exports: the name, and the file that declares it. */
const names = [...read('index.ts').matchAll(/export (?:type )?\{([^}]+)\} from '(.+?)\.js';/g)]
  .flatMap(([, list = '', file = '']) =>
    list.split(',').map((name) => ({ name: name.replace(/^\s*type\s/, '').trim(), file })),
  )
  .filter(({ name }) => name !== '')
  .map(({ name, file }) => ({ name, path: `${file}.ts` }));

const DECLARED = '(?:abstract )?(?:class|interface|type|function|async function|const)';
/** A method or an accessor that its users may call; others are private, protected or inherited. */
const MEMBER = /^ {2}(?:static )?(?:async )?(?:get )?([a-z]\w*)(?:<[^(]*>)?\(/;
const NONE = ['constructor'];

/** Names of the public methods and accessors in a class that have no doc comment above them. */
function undocumented(lines: readonly string[], first: number): string[] {
  const end = lines.findIndex((line, at) => at > first && line === '}');
  return lines.slice(first, end).flatMap((line, at, all) => {
    const [, member] = MEMBER.exec(line) ?? [];
    if (member === undefined || NONE.includes(member)) return [];
    return all[at - 1]?.endsWith('*/') ? [] : [member];
  });
}

describe('what the library exports', () => {
  it('is found by this test', () => {
    expect(names.length).toBeGreaterThan(40);
    expect(names).toContainEqual({ name: 'connect', path: './client/client.ts' });
  });

  it.each(names)('$name has a doc comment, and so have its methods', ({ name, path }) => {
    // Where a file passes names on, they are declared in a neighbour of it.
    const passedOn = [...read(path).matchAll(/^export (?:type )?\* from '(.+)\.js';/gm)].map(
      ([, file]) => join(path, '..', `${file}.ts`),
    );
    const declared = new RegExp(`^export ${DECLARED} ${name}\\b`);
    const found = [path, ...passedOn].flatMap((file) => {
      const lines = read(file).split('\n');
      const at = lines.findIndex((line) => declared.test(line));
      return at < 0 ? [] : [{ lines, at }];
    });
    expect(found).toHaveLength(1);
    for (const { lines, at } of found) {
      expect(lines[at - 1]).toMatch(/\*\/$/);
      if (/ class /.test(lines[at] ?? '')) expect(undocumented(lines, at)).toEqual([]);
    }
  });
});
