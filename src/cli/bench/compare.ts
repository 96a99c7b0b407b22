/** Results beside those that were kept before, so that a regression shows. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { FarpageError } from '../../errors.js';
import type { Round, Row, Target } from './row.js';
import { median } from './statistics.js';

/** How much worse the median must be to count, besides being worse than every round before. */
export const WORSE_BY = 0.1;

const savedRow = v.object({
  work: v.string(),
  placement: v.string(),
  rounds: v.pipe(
    v.array(v.object({ farpage: v.number(), raw: v.optional(v.number()) })),
    v.minLength(1),
  ),
});
export type SavedRow = v.InferOutput<typeof savedRow>;

export interface Comparison {
  /** Of what the row is judged by: its ratio, its difference to raw, or the figure itself. */
  readonly of: Target['of'];
  readonly before: number;
  readonly now: number;
  /** `now / before`. */
  readonly change: number;
  /** By more than WORSE_BY, and worse than every round before. */
  readonly worse: boolean;
}

/**
 * The rows of a file of results, or of all files of a folder, oldest first. ERR_FILE_NOT_FOUND.
 * Lines that are no rows with rounds, such as those on the machine, are passed over.
 */
export function readSaved(path: string): readonly SavedRow[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new FarpageError('ERR_FILE_NOT_FOUND', path);
  const files = found.isDirectory()
    ? readdirSync(path)
        .filter((name) => name.endsWith('.jsonl'))
        .sort()
        .map((name) => join(path, name))
    : [path];
  const lines = files.flatMap((file) => readFileSync(file, 'utf8').split('\n'));
  return lines.flatMap((line) => {
    try {
      return [v.parse(savedRow, JSON.parse(line))];
    } catch {
      return [];
    }
  });
}

function judgedOf(of: Target['of'], { farpage, raw = Number.NaN }: Round): number {
  if (of === 'figure') return farpage;
  return of === 'ratio' ? farpage / raw : farpage - raw;
}

/** A row beside the last saved one of the same work and placement; undefined without any. */
export function compare(row: Row, saved: readonly SavedRow[]): Comparison | undefined {
  const last = saved.findLast(
    ({ work, placement }) => work === row.work && placement === row.placement,
  );
  if (last === undefined || row.rounds.length === 0) return undefined;
  const of = row.target?.of ?? (row.ratio === null ? 'figure' : 'ratio');
  const least = row.target === null ? row.unit.endsWith('/s') : row.target.least !== undefined;
  const past = last.rounds.map((round) => judgedOf(of, round));
  const before = median(past);
  const now = median(row.rounds.map((round) => judgedOf(of, round)));
  const change = now / before;
  const beyond = least ? now < Math.min(...past) : now > Math.max(...past);
  const much = Math.abs(now - before) > WORSE_BY * Math.abs(before);
  return { of, before, now, change, worse: beyond && much };
}
