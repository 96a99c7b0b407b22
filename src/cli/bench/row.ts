/** One line of the result: what was measured, on both sides, and whether it is fast enough. */
import { median, spread } from './statistics.js';

/** A run whose raw side spreads further than this between its rounds tells nothing. */
export const RAW_SPREAD_MAX = 1.5;

export type Unit = 'us' | 'ms' | '/s' | 'B/s' | 'B' | '%';
export type Verdict = 'ok' | 'miss' | 'noisy' | 'told' | 'skipped';

/**
 * What is wanted: `of` says of what (the ratio to raw, the difference to raw, or the figure
 * itself), `most` or `least` how much.
 */
export interface Target {
  readonly of: 'ratio' | 'difference' | 'figure';
  readonly most?: number;
  readonly least?: number;
}

/** One round: Farpage and, where there is one, the raw program beside it. */
export interface Round {
  readonly farpage: number;
  readonly raw?: number | undefined;
}

export interface Row {
  /** Its name for `--only`; several rows of one measurement share it. */
  readonly name: string;
  readonly work: string;
  readonly placement: string;
  readonly unit: Unit;
  /** Medians over the rounds; null where there is no such side. */
  readonly farpage: number | null;
  readonly raw: number | null;
  /** Median of the rounds' own ratios. */
  readonly ratio: number | null;
  readonly target: Target | null;
  readonly verdict: Verdict;
  readonly rounds: readonly Round[];
  readonly note?: string;
}

export interface RowHead {
  readonly name: string;
  readonly work: string;
  readonly placement: string;
  readonly unit: Unit;
  readonly target?: Target;
  readonly note?: string | undefined;
}

function middleOf(target: Target, rounds: readonly Round[]): number {
  if (target.of === 'figure') return median(rounds.map(({ farpage }) => farpage));
  const { of } = target;
  return median(
    rounds.map(({ farpage, raw = Number.NaN }) => (of === 'ratio' ? farpage / raw : farpage - raw)),
  );
}

function verdictOf(target: Target | undefined, rounds: readonly Round[]): Verdict {
  if (target === undefined) return 'told';
  const raws = rounds.flatMap(({ raw }) => (raw === undefined ? [] : [raw]));
  if (target.of !== 'figure' && spread(raws) > RAW_SPREAD_MAX) return 'noisy';
  const value = middleOf(target, rounds);
  const { most = Number.POSITIVE_INFINITY, least = Number.NEGATIVE_INFINITY } = target;
  return value <= most && value >= least ? 'ok' : 'miss';
}

/** Judges the rounds of one measurement. */
export function makeRow(head: RowHead, rounds: readonly Round[]): Row {
  const { note, target, ...rest } = head;
  const both = rounds.filter(({ raw }) => raw !== undefined);
  const raws = both.map(({ raw = Number.NaN }) => raw);
  return {
    ...rest,
    farpage: median(rounds.map(({ farpage }) => farpage)),
    raw: both.length === 0 ? null : median(raws),
    ratio: both.length === 0 ? null : middleOf({ of: 'ratio' }, both),
    target: target ?? null,
    verdict: verdictOf(target, rounds),
    rounds,
    ...(note !== undefined && { note }),
  };
}

/** The row of what was not measured, and why. */
export function skippedRow(head: Pick<Row, 'name' | 'work' | 'placement'>, why: string): Row {
  const none = { farpage: null, raw: null, ratio: null, target: null, rounds: [] };
  return { ...head, ...none, unit: 'ms', verdict: 'skipped', note: why };
}
