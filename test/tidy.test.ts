import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { complaints } from './helpers/tidy-rules.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const TOP = ['native', 'src', 'test', 'binding.gyp', 'package.json', 'tsconfig.json', 'README.md'];
const TOP_BESIDE = ['CHANGELOG.md', 'LICENSE', 'package-lock.json'];
const TOP_BUILT = ['node_modules', 'build', 'dist', 'coverage'];
const SOURCE = /\.(cc|h|ts|mjs)$/;

const paths = ['native', 'src', 'test', '.config'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => SOURCE.test(name))
    .map((name) => `${folder}/${name}`),
);

describe('the project', () => {
  it('has the fixed top level and dotfiles', () => {
    const allowed = [...TOP, ...TOP_BESIDE, ...TOP_BUILT];
    const found = readdirSync(root).filter((name) => !name.startsWith('.'));
    expect(found.filter((name) => !allowed.includes(name) && !name.endsWith('.tgz'))).toEqual([]);
  });

  it('keeps its own rules in every source file', () => {
    expect(paths.length).toBeGreaterThan(10);
    const broken = paths.flatMap((path) =>
      complaints({ path, text: readFileSync(join(root, path), 'utf8') }),
    );
    expect(broken).toEqual([]);
  });
});

describe('the rules', () => {
  const unfinished = ['TO', 'DO'].join('');
  it.each([
    ['src/units.ts', 'longer than 100', 'x'.repeat(101)],
    ['src/units.ts', '401 lines', 'x\n'.repeat(401)],
    ['src/units.ts', 'unfinished', `// ${unfinished}: later`],
    ['src/units.ts', 'default export', `${'export'} default 1;`],
    ['native/fabric/nic.cc', 'napi.h outside', '#include <napi.h>'],
    ['native/fabric/nic.cc', 'fabric may not include pager', '#include "pager/pager.h"'],
    ['native/pager/pager.cc', 'pager may not include fabric', '#include "fabric/nic.h"'],
    ['native/bench/load.cc', 'bench may not include memory', '#include "memory/region.h"'],
    ['native/fabric/nic.cc', 'fabric may not include bench', '#include "bench/load.h"'],
    ['native/base/ring.h', 'base may not include os', '#include "os/fd.h"'],
    ['native/misc/a.h', 'no room', ''],
    ['src/client/client.ts', 'may not import appliance', "import { a } from '../appliance/a.js';"],
    ['src/appliance/a.ts', 'may not import client', "export { a } from '../client/a.js';"],
    ['src/native/load.ts', 'may not import control', "await import('../control/schema.js');"],
    ['src/errors.ts', 'errors may not import units', "import { a } from './units.js';"],
    ['src/utils/a.ts', 'no room', ''],
  ])('find in %s: %s', (path, complaint, text) => {
    expect(complaints({ path, text }).join('\n')).toContain(complaint);
  });

  it.each([
    ['native/binding/addon.cc', '#include <napi.h>\n#include "pager/pager.h"\n'],
    ['native/pager/pager.cc', '#include <vector>\n#include "memory/page_store.h"\n'],
    ['src/cli/main.ts', "import { a } from '../client/a.js';\nimport x from 'node:fs';\n"],
    ['src/index.ts', "export { a } from './appliance/a.js';\n"],
  ])('have nothing against a tidy %s', (path, text) => {
    expect(complaints({ path, text })).toEqual([]);
  });
});
