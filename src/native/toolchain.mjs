// Looks for what compiling the addon needs, before node-gyp fails with a page of text about it.
import { spawnSync } from 'node:child_process';

const PROBE = '#include <bit>\n#include <span>\nstatic_assert(std::has_single_bit(8u));\n';
const PROBE_TIMEOUT_MS = 30_000;

function runs(command, words, input = '') {
  const options = { input, stdio: ['pipe', 'ignore', 'ignore'], timeout: PROBE_TIMEOUT_MS };
  return spawnSync(command, words, options).status === 0;
}

/** One line on what is missing and how to get it, or '' when everything is there. */
export function complaint(env = process.env) {
  const hint = 'g++ 11, make and Python 3 are needed: apt-get install g++ make python3';
  const [compiler, ...flags] = (env.CXX || 'g++').split(' ');
  if (!runs(compiler, ['--version'])) return `no C++ compiler: ${compiler} does not run; ${hint}`;
  if (!runs(compiler, [...flags, '-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], PROBE))
    return `${compiler} does not compile C++20; g++ 11 or clang 14 or newer is needed (set CXX)`;
  if (!runs(env.MAKE || 'make', ['--version'])) return `no make; ${hint}`;
  const pythons = [env.npm_config_python, env.PYTHON, 'python3', 'python'];
  if (
    !pythons.some(
      (name) => name && runs(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']),
    )
  )
    return `no Python 3.8 or newer, which node-gyp needs; ${hint}`;
  return '';
}
