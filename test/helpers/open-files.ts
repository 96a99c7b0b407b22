/** The files that a process has open, from /proc. */
import { readdirSync, readlinkSync, type Stats, statSync } from 'node:fs';

export interface OpenFile {
  /** As the kernel names it: ` (deleted)` behind it where the name is gone. */
  readonly path: string;
  readonly stat: Stats;
}

/** Each descriptor's, as far as it is still open when its turn comes. */
export function openFiles(pid: number | 'self'): OpenFile[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((fd) => {
    try {
      return [{ path: readlinkSync(`${folder}/${fd}`), stat: statSync(`${folder}/${fd}`) }];
    } catch {
      return []; // Closed since it was listed.
    }
  });
}
