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
