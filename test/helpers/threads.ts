/** Another process's threads, from the kernel's own books. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const STOP_MS_MAX = 10_000;

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

/** Waits until every thread of a process has stopped: SIGSTOP comes as late as its slowest one. */
export async function whenStopped(pid: number): Promise<void> {
  const state = (task: string) => {
    const text = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2)[0];
  };
  const deadline = performance.now() + STOP_MS_MAX;
  while (readdirSync(`/proc/${pid}/task`).some((task) => state(task) !== 'T')) {
    if (performance.now() > deadline) throw new Error(`process ${pid} does not stop`);
    await sleep(1);
  }
}
