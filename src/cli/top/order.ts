/** In which order `farpage top` lists regions. */
import type { RegionSample } from './sample.js';

/** What regions are sorted by, in the order in which a key goes through them. */
export const ORDERS = ['operations', 'bytes', 'faults', 'present', 'dirty', 'name'] as const;
export type Order = (typeof ORDERS)[number];

const KEYS: Record<Exclude<Order, 'name'>, (sample: RegionSample) => number> = {
  operations: ({ rates }) => rates.operations ?? -1,
  bytes: ({ rates }) => rates.bytes ?? -1,
  faults: ({ rates }) => rates.faults ?? -1,
  present: ({ pages }) => pages.present,
  dirty: ({ pages }) => pages.dirty,
};

/** The order after this one. */
export function nextOrder(order: Order): Order {
  return ORDERS[(ORDERS.indexOf(order) + 1) % ORDERS.length] ?? 'operations';
}

/** Largest first, equal ones by name; `name` is alphabetical. */
export function sorted(regions: readonly RegionSample[], order: Order): RegionSample[] {
  const byName = (left: RegionSample, right: RegionSample) => (left.name < right.name ? -1 : 1);
  if (order === 'name') return [...regions].sort(byName);
  const key = KEYS[order];
  return [...regions].sort((left, right) => key(right) - key(left) || byName(left, right));
}
