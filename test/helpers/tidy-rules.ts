import { posix } from 'node:path';

/** A source file: its path from the top of the project, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

const LINE_COLUMNS_MAX = 100;
const FILE_LINES_MAX = 400;
const MARKERS = new RegExp(
  `\\b(${['TO', 'FIX', 'XX'].map((a, i) => a + ['DO', 'ME', 'X'][i]).join('|')})\\b`,
);

/** The rooms of native/ and those that each may include, besides itself. */
const NATIVE_ROOMS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  os: ['base'],
  memory: ['os', 'base'],
  stores: ['memory', 'os', 'base'],
  pager: ['stores', 'memory', 'os', 'base'],
  fabric: ['memory', 'os', 'base'],
  bench: ['fabric', 'os', 'base'],
  binding: ['fabric', 'pager', 'stores', 'memory', 'os', 'base'],
};

const LEAVES = ['errors', 'units'];
/** The rooms and top files of src/ and those that each may import, besides itself. */
const SRC_ROOMS: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  units: ['errors'],
  native: LEAVES,
  fabric: ['native', ...LEAVES],
  control: ['native', ...LEAVES],
  client: ['control', 'fabric', 'native', ...LEAVES],
  appliance: ['control', 'fabric', 'native', ...LEAVES],
  cli: ['appliance', 'client', 'control', 'fabric', 'native', ...LEAVES],
  index: ['appliance', 'client', 'control', 'fabric', 'native', ...LEAVES],
};

/** What one line breaks: its width, words that mean unfinished work, exports without a name. */
function lineComplaint(path: string, line: string): string | undefined {
  if ([...line].length > LINE_COLUMNS_MAX) return `longer than ${LINE_COLUMNS_MAX} columns`;
  if (MARKERS.test(line)) return 'a marker of unfinished work';
  const mayExportDefault = !path.endsWith('.ts') || path.startsWith('.config/');
  if (!mayExportDefault && /^export default\b|\bas default\b/.test(line)) return 'a default export';
  if (/^\s*#include\s*[<"]napi\.h[>"]/.test(line) && !path.startsWith('native/binding/'))
    return 'napi.h outside of native/binding';
  return undefined;
}

/** The room of src/ that a path lies in: its folder, or the file itself at the top. */
function srcRoom(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.(ts|js)$/, '');
}

function nativeDirection({ path, text }: SourceFile): string[] {
  const room = path.split('/')[1] ?? '';
  const allowed = NATIVE_ROOMS[room];
  if (allowed === undefined) return [`${path}: native/${room} is no room of the design`];
  const included = [...text.matchAll(/^\s*#include "([a-z_]+)\/[^"]+"/gm)].map(
    (hit) => hit[1] ?? '',
  );
  return included
    .filter((other) => other !== room && !allowed.includes(other))
    .map((other) => `${path}: ${room} may not include ${other}`);
}

function srcDirection({ path, text }: SourceFile): string[] {
  const room = srcRoom(path);
  const allowed = SRC_ROOMS[room];
  if (allowed === undefined) return [`${path}: src/${room} is no room of the design`];
  const imported = text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g);
  return [...imported]
    .map((hit) => posix.join(posix.dirname(path), hit[1] ?? ''))
    .filter((target) => target.startsWith('src/'))
    .map(srcRoom)
    .filter((other) => other !== room && !allowed.includes(other))
    .map((other) => `${path}: ${room} may not import ${other}`);
}

/** Every rule that `file` breaks, one line each; none when it is tidy. */
export function complaints(file: SourceFile): string[] {
  const { path, text } = file;
  const lines = text.split('\n');
  const found = lines.flatMap((line, index) => {
    const complaint = lineComplaint(path, line);
    return complaint === undefined ? [] : [`${path}:${index + 1}: ${complaint}`];
  });
  const count = lines.length - 1;
  if (count > FILE_LINES_MAX) found.push(`${path}: ${count} lines, more than ${FILE_LINES_MAX}`);
  if (/^native\/.*\.(cc|h)$/.test(path)) found.push(...nativeDirection(file));
  if (/^src\/.*\.ts$/.test(path)) found.push(...srcDirection(file));
  return found;
}
