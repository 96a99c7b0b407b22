/** CPU time of another process's threads, from the kernel's own books. */
import { readdirSync, readFileSync } from 'node:fs';

/** Nanoseconds on a CPU by thread, `name/id` (proc_pid_schedstat: time on the CPU comes first). */
export function cpuByThread(pid: number): Map<string, number> {
  const times = new Map<string, number>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const base = `/proc/${pid}/task/${id}`;
    const name = readFileSync(`${base}/comm`, 'utf8').trim();
    const [ns = '0'] = readFileSync(`${base}/schedstat`, 'utf8').split(' ');
    times.set(`${name}/${id}`, Number(ns));
  }
  return times;
}
