/** Which side runs on which core, and how both wait. */
export const PLACEMENTS = {
  'two-cores-polling': { mode: 'polling', serverCore: 0, clientCore: 1 },
  'two-cores-sleeping': { mode: 'sleeping', serverCore: 0, clientCore: 1 },
  'one-core-sleeping': { mode: 'sleeping', serverCore: 0, clientCore: 0 },
} as const;

export type PlacementName = keyof typeof PLACEMENTS;
