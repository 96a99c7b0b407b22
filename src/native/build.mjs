// Builds the native part: `build.mjs [--tree release|dev|asan|tsan] [target…]`.
// Plain JavaScript without dependencies except node-gyp, because npm runs it at install, before any
// TypeScript is built. `release` builds in build/; the others, which a user of the package never
// builds, in .build/<tree>, a folder of links to the sources, because node-gyp always writes to
// ./build and one object file cannot be both plain and sanitized.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { complaint } from './toolchain.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const TREES = {
  release: [],
  dev: ['-Ddev=1'],
  asan: ['-Ddev=1', '-Dsanitize=address,undefined'],
  tsan: ['-Ddev=1', '-Dsanitize=thread'],
};
const LINKS = ['binding.gyp', 'native', 'node_modules', 'package.json', 'src', 'test'];
const LOCK_WAIT_MS = 10 * 60 * 1000;
const LOCK_LOOK_MS = 200;

function fail(text) {
  console.error(`farpage: ${text}`);
  process.exit(1);
}

/** The folder that `tree` builds in; the links in it are made when missing. */
function treeFolder(tree) {
  if (tree === 'release') return root;
  const folder = join(root, '.build', tree);
  fs.mkdirSync(folder, { recursive: true });
  for (const name of LINKS) {
    try {
      fs.symlinkSync(join('../..', name), join(folder, name));
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
  }
  return folder;
}

/** True when the process that wrote the lock has ended (or had no time to write its id). */
function isStale(lock) {
  try {
    const pid = Number(fs.readFileSync(lock, 'utf8'));
    if (pid > 0) process.kill(pid, 0);
    return pid === 0 && Date.now() - fs.statSync(lock).mtimeMs > LOCK_LOOK_MS;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** One build at a time in a tree: two makes in one folder spoil each other's objects. */
function takeLock(lock) {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + LOCK_WAIT_MS; ; ) {
    try {
      fs.writeFileSync(lock, String(process.pid), { flag: 'wx' });
      process.on('exit', () => fs.rmSync(lock, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (isStale(lock)) fs.rmSync(lock, { force: true });
    else if (Date.now() > end) fail(`another build holds ${lock}; remove it if none is running`);
    else Atomics.wait(nap, 0, 0, LOCK_LOOK_MS);
  }
}

/** Where Node's headers lie on this machine; none means that node-gyp fetches them. */
function headersArgument() {
  const known = process.env.npm_config_nodedir;
  if (known) return [`--nodedir=${known}`];
  const prefix = resolve(dirname(process.execPath), '..');
  try {
    const text = fs.readFileSync(join(prefix, 'include/node/node_version.h'), 'utf8');
    const part = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
    const version = `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`;
    if (version === process.versions.node) return [`--nodedir=${prefix}`];
  } catch {}
  return [];
}

const words = process.argv.slice(2);
const tree = words[0] === '--tree' ? words.splice(0, 2)[1] : 'release';
if (!Object.hasOwn(TREES, tree)) fail(`no tree named ${tree}; there are ${Object.keys(TREES)}`);
const missing = complaint();
if (missing) fail(missing);

const folder = treeFolder(tree);
takeLock(join(folder, '.build-lock'));
const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
const quiet = ['--loglevel=warn', ...headersArgument()];
for (const step of [
  ['configure', '--', ...TREES[tree]],
  ['build', ...words, '--jobs=2'],
]) {
  const head = [nodeGyp, step[0], ...quiet];
  const stdio = ['ignore', 'inherit', 'inherit'];
  const run = spawnSync(process.execPath, [...head, ...step.slice(1)], { cwd: folder, stdio });
  if (run.status !== 0) process.exit(run.status ?? 1);
}
