/** A picture of a page table in letters, the same in every encoding. */

const PRESENT = 1;
const DIRTY = 2;
const WRITTEN_BACK = 8;
const LOST = 16;
const PARTLY = 32;
const ELSEWHERE = 64;

/** What the letters mean, first match first. */
const LETTERS: readonly (readonly [number, string, string])[] = [
  [LOST, '!', 'lost'],
  [ELSEWHERE, 't', 'in a tier'],
  [DIRTY, 'W', 'written'],
  [WRITTEN_BACK, 's', 'written back'],
  [PARTLY, 'r', 'partly read'],
  [PRESENT, 'R', 'read'],
  [0, '.', 'absent'],
];

/** One letter for each cell. */
export function pictureOf(cells: Uint8Array): string {
  return Array.from(cells, (cell) => {
    const found = LETTERS.find(([bit]) => (cell & bit) !== 0 || bit === 0);
    return found?.[1] ?? '.';
  }).join('');
}

/** The meaning of the letters that a picture has. */
export function legendOf(picture: string): string {
  const used = LETTERS.filter(([, letter]) => picture.includes(letter));
  return used.map(([, letter, meaning]) => `${letter} ${meaning}`).join('  ');
}
