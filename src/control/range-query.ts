/** Ranges in queries, where everything is text. */

/** The query of a range in bytes. */
export function rangeQueryOf({ offset, length }: { offset?: number; length?: number }) {
  return {
    ...(offset !== undefined && { offset: `${offset}` }),
    ...(length !== undefined && { length: `${length}` }),
  };
}
