/** Provenance of ranges that need several answers. */
import type { Provenance, ProvenanceRun } from './schema.js';

const isSame = (a: ProvenanceRun, b: ProvenanceRun) =>
  a.state === b.state && a.place === b.place && a.from === b.from;

/** The runs of a range from `offset` on; `ask` tells some of them, from an offset on. */
export async function* provenanceRuns(
  ask: (offset: number) => Promise<Provenance>,
  offset: number,
): AsyncGenerator<ProvenanceRun, void, undefined> {
  let last: ProvenanceRun | undefined;
  for (let next: number | null = offset; next !== null; ) {
    const answer: Provenance = await ask(next);
    for (const run of answer.runs) {
      if (last !== undefined && isSame(last, run)) {
        // An answer that cost enough ends within a run.
        last = { ...last, length: last.length + run.length };
        continue;
      }
      if (last !== undefined) yield last;
      last = run;
    }
    next = answer.next;
  }
  if (last !== undefined) yield last;
}
