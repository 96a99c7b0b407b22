/** Provenance in words, and as a picture in letters. */
import type { ProvenanceRun } from '../control/schema.js';
import { PAGE_BYTES, pageCount } from '../units.js';

/** A class of runs: its letters for a cell that has nothing else, and for one that has. */
interface Kind {
  readonly whole: string;
  readonly partly: string;
  readonly words: string;
  readonly has: (run: ProvenanceRun) => boolean;
}

const kind = (whole: string, words: string, has: Kind['has'], partly = whole): Kind => ({
  whole,
  partly,
  words,
  has,
});

/** The letters that `stat` has too mean the same. */
const KINDS: readonly Kind[] = [
  kind('!', 'lost', ({ state }) => state === 'lost'),
  kind('t', 'in a tier', ({ place }) => place === 'tier'),
  kind('W', 'dirty', ({ state }) => state === 'dirty'),
  kind('s', 'written back', ({ state }) => state === 'written-back'),
  kind('E', 'from elsewhere', ({ state }) => state === 'elsewhere', 'e'),
  kind('K', 'kept since before', ({ state }) => state === 'kept', 'k'),
  kind('F', 'from file', ({ state }) => state === 'file', 'f'),
  kind('O', 'ones', ({ state, from }) => state === 'filled' && from === 'one', 'o'),
  kind('Z', 'zeros', ({ state }) => state === 'filled', 'z'),
  kind('.', 'untouched', () => true),
];

const CELLS_MAX = 76;

/** What a run is, and where. */
export function wordsOf({ state, from, place }: ProvenanceRun): [string, string] {
  const where = place === 'memory' ? 'memory' : place === 'tier' ? 'a tier' : '';
  const fill = { zero: 'zeros', one: 'ones', file: 'the file', elsewhere: 'elsewhere' };
  switch (state) {
    case 'untouched':
      return [`untouched: ${fill[from ?? 'zero']}`, where];
    case 'filled':
      return [`filled with ${fill[from ?? 'zero']}`, where];
    case 'file':
      return ['from the file', where];
    case 'elsewhere':
      return ['from elsewhere', where];
    case 'kept':
      return ['kept since before the last start', where];
    case 'written-back':
      return ['written back', where];
    default:
      return [state, where];
  }
}

/** A picture of runs that follow each other, and the meaning of its letters. */
export function drawProvenance(runs: readonly ProvenanceRun[]): {
  picture: string;
  legend: string;
} {
  const pageOf = (offset: number) => Math.floor(offset / PAGE_BYTES);
  const endOf = ({ offset, length }: ProvenanceRun) => pageCount(offset + length);
  const first = pageOf(runs[0]?.offset ?? 0);
  const last = runs.at(-1);
  const pages = last === undefined ? 0 : endOf(last) - first;
  const count = Math.min(CELLS_MAX, pages);
  const cells = Array.from({ length: count }, () => new Set<Kind>());
  for (const run of runs) {
    const found = KINDS.find(({ has }) => has(run));
    const start = Math.floor(((pageOf(run.offset) - first) * count) / pages);
    const end = Math.ceil(((endOf(run) - first) * count) / pages);
    for (const cell of cells.slice(start, end)) if (found !== undefined) cell.add(found);
  }
  const letters = cells.map((cell) => {
    const shown = KINDS.find((one) => cell.has(one));
    return { shown, letter: (cell.size === 1 ? shown?.whole : shown?.partly) ?? '.' };
  });
  const used = KINDS.flatMap(({ whole, partly, words }) => {
    const has = (letter: string) => letters.some((cell) => cell.letter === letter);
    const plain = has(whole) ? [`${whole} ${words}`] : [];
    return partly !== whole && has(partly) ? [...plain, `${partly} partly ${words}`] : plain;
  });
  return { picture: letters.map(({ letter }) => letter).join(''), legend: used.join('  ') };
}
