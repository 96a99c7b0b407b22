/** The working set of a region: recorded while it is used, brought near again after a restart. */
import type { PrefetchReply, WorkingSetReply } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import type { RegionHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { PAGE_BYTES } from '../units.js';
import type { Prefetches } from './prefetches.js';
import { checkComesBack, type RegionRecord } from './record.js';
import { readSet, removeSet, type SavedSet, writeSet } from './working-set-file.js';

/** What is needed of the region. */
interface Host {
  readonly path: string;
  readonly record: () => RegionRecord;
  readonly prefetches: Prefetches;
  /** Lets it stay open until the work has ended. */
  readonly track: <T>(work: Promise<T>) => Promise<T>;
}

interface Recording {
  readonly handle: RegionHandle;
  readonly sinceMs: number;
  readonly forMs: number;
  readonly timer: NodeJS.Timeout;
}

/** Pages of runs. */
function pagesOf(runs: Float64Array): number {
  let pages = 0;
  for (let at = 1; at < runs.length; at += 2) pages += runs[at] ?? 0;
  return pages;
}

/**
 * One that was saved is replayed whenever a later process opens the region, until it is forgotten.
 * A file that is torn, or another region's, counts as none: `problem` tells why.
 */
export class WorkingSet {
  readonly #host: Host;
  #saved: SavedSet | undefined;
  #looked = false;
  #begun = false;
  #recording: Recording | undefined;
  #replay: number | undefined;
  #problem: FarpageError | undefined;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Why what is in the file is not used, or was not written. */
  get problem(): FarpageError | undefined {
    this.#look();
    return this.#problem;
  }

  /** Whether there is something to replay. */
  get isSaved(): boolean {
    this.#look();
    return this.#saved !== undefined;
  }

  /** The region was opened: replays the set, or records one where its record asks for that. */
  begin(handle: RegionHandle): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#look();
    const { workingSetMs } = this.#host.record();
    try {
      if (this.#saved !== undefined) this.replay(handle);
      else if (workingSetMs !== undefined) this.record(handle, workingSetMs);
    } catch (error) {
      // The region is no worse for it.
      if (!(error instanceof FarpageError)) throw error;
      this.#problem = error;
    }
  }

  /** Saves what is used from now on, once `forMs` have passed or the region is closed. */
  record(handle: RegionHandle, forMs: number): void {
    checkComesBack(this.#host.record());
    this.#stop();
    const done = () => void this.#finish().catch(() => {}); // `problem` tells why.
    // Whoever ends the process need not wait for it.
    const timer = setTimeout(done, forMs).unref();
    this.#recording = { handle, sinceMs: performance.now(), forMs, timer };
  }

  /**
   * Saves what was used and is in memory. What was saved before stays when that fails: ERR_IO,
   * ERR_NO_SPACE, ERR_ARGUMENT where there is nothing.
   */
  async save(handle: RegionHandle, withinMs?: number): Promise<void> {
    checkComesBack(this.#host.record());
    const work = native().regionWorkingSet(handle, { withinMs });
    const set = { ...(await this.#host.track(work)), savedAt: Date.now() };
    if (set.runs.length === 0) {
      const what = `no page of ${this.#host.record().name} was used and is in memory`;
      throw new FarpageError('ERR_ARGUMENT', what);
    }
    try {
      writeSet(this.#host.path, set, this.#host.record());
      this.#problem = undefined;
      this.#saved = set;
      this.#looked = true;
    } catch (error) {
      if (error instanceof FarpageError) this.#problem = error;
      throw error;
    }
  }

  /** Begins to bring the set near, those used most often first. ERR_ARGUMENT without one. */
  replay(handle: RegionHandle): PrefetchReply {
    this.#look();
    const { name, size } = this.#host.record();
    if (this.#saved === undefined) {
      throw new FarpageError('ERR_ARGUMENT', `no working set of ${name} was saved`);
    }
    const begun = this.#host.prefetches.replay(handle, { runs: this.#saved.runs, size });
    this.#replay = begun.id;
    return begun;
  }

  /** Ends a recording and deletes what was saved. */
  forget(): void {
    this.#stop();
    this.#saved = undefined;
    this.#replay = undefined;
    this.#problem = undefined;
    this.#looked = true;
    removeSet(this.#host.path);
  }

  /** The region is about to be closed: what was recorded so far is saved. */
  async end(): Promise<void> {
    await this.#finish().catch(() => {}); // There is nobody left to tell.
  }

  reply(): WorkingSetReply {
    this.#look();
    const { name } = this.#host.record();
    const { hotRuns = 0, runs = new Float64Array(), savedAt } = this.#saved ?? {};
    const recording = this.#recording;
    const replay = this.#host.prefetches.list().find(({ id }) => id === this.#replay);
    return {
      region: name,
      state: recording !== undefined ? 'recording' : savedAt !== undefined ? 'saved' : 'none',
      pages: pagesOf(runs),
      bytes: pagesOf(runs) * PAGE_BYTES,
      hotPages: pagesOf(runs.subarray(0, 2 * hotRuns)),
      runs: runs.length / 2,
      savedAt: savedAt === undefined ? null : new Date(savedAt).toISOString(),
      leftMs:
        recording === undefined
          ? null
          : Math.max(0, Math.round(recording.sinceMs + recording.forMs - performance.now())),
      ...(replay !== undefined && { replay }),
      ...(this.#problem !== undefined && {
        error: { code: this.#problem.code, message: this.#problem.message },
      }),
    };
  }

  async #finish(): Promise<void> {
    const recording = this.#stop();
    if (recording === undefined) return;
    await this.save(recording.handle, Math.ceil(performance.now() - recording.sinceMs));
  }

  #stop(): Recording | undefined {
    const recording = this.#recording;
    clearTimeout(recording?.timer);
    this.#recording = undefined;
    return recording;
  }

  #look(): void {
    if (this.#looked) return;
    this.#looked = true;
    try {
      this.#saved = readSet(this.#host.path, this.#host.record());
    } catch (error) {
      if (error instanceof FarpageError) this.#problem = error;
      else throw error;
    }
  }
}
