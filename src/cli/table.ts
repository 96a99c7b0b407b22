/** Tables for people, by cli-table3: it knows how wide characters are. Loaded only for them. */

/** Columns without lines around them; `right` names the columns that are numbers. */
export async function renderTable(
  rows: readonly (readonly string[])[],
  options: { head?: readonly string[]; right?: readonly number[] } = {},
): Promise<string> {
  const { default: Table } = await import('cli-table3');
  const { head = [], right = [] } = options;
  const none = Object.fromEntries(
    'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid'
      .concat(' mid-mid right right-mid')
      .split(' ')
      .map((name) => [name, '']),
  );
  const width = rows[0]?.length ?? head.length;
  const table = new Table({
    chars: { ...none, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: Array.from({ length: width }, (_, at) => (right.includes(at) ? 'right' : 'left')),
  });
  if (head.length > 0) table.push([...head]);
  table.push(...rows.map((row) => [...row]));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** What a column of text is given at least, so that there are words on its lines. */
const TEXT_COLUMNS_MIN = 12;

const longestOf = (lines: readonly string[]) => Math.max(0, ...lines.map(({ length }) => length));

/** A text on lines of at most so many characters: between words where that goes. */
function wrap(text: string, columns: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length <= columns || line === '') {
      line = longer;
    } else {
      lines.push(line);
      line = word;
    }
    for (; line.length > columns; line = line.slice(columns)) lines.push(line.slice(0, columns));
  }
  return [...lines, line].join('\n');
}

/**
 * The same no wider than `columns`, if that can be: without columns of `spare`, the first ones
 * first, and then with what is in the column `text` on several lines.
 */
export async function fitTable(
  rows: readonly (readonly string[])[],
  options: {
    columns: number;
    text: number;
    head?: readonly string[];
    right?: readonly number[];
    spare?: readonly number[];
  },
): Promise<string> {
  const { columns, text, head = [], right = [], spare = [] } = options;
  const all = (rows[0] ?? head).map((_, at) => at);
  for (let spared = 0; ; spared += 1) {
    const kept = all.filter((at) => !spare.slice(0, spared).includes(at));
    const cut = (row: readonly string[]) => kept.map((at) => row[at] ?? '');
    const rendered = {
      ...(head.length > 0 && { head: cut(head) }),
      right: kept.flatMap((at, now) => (right.includes(at) ? [now] : [])),
    };
    const table = await renderTable(rows.map(cut), rendered);
    const beyond = longestOf(table.split('\n')) - columns;
    if (beyond <= 0) return table;
    if (spared < spare.length) continue;
    const widest = longestOf(rows.map((row) => row[text] ?? ''));
    const width = Math.max(widest - beyond, TEXT_COLUMNS_MIN);
    const folded = rows.map((row) => row.with(text, wrap(row[text] ?? '', width)));
    return await renderTable(folded.map(cut), rendered);
  }
}
