/** `farpage top` on a terminal: readings, keys and frames, until somebody wants it to end. */
import { FarpageError } from '../../errors.js';
import { frameOf, pictureSize } from './frame.js';
import { nextOrder, ORDERS, type Order, sorted } from './order.js';
import { type Reading, type Sample, sampleOf } from './sample.js';
import { type Key, Screen } from './screen.js';

export interface TopOptions {
  readonly title: string;
  readonly first: Reading;
  readonly color: boolean;
  readonly intervalMs: number;
  /** The figures of now; a FarpageError is shown, and it is asked again. */
  readonly read: () => Promise<Reading>;
  /** The page table of a region in so many cells. */
  readonly cellsOf: (region: string, cells: number) => Promise<Uint8Array>;
}

export class Top {
  readonly #options: TopOptions;
  #before: Reading | undefined;
  #sample: Sample;
  #order: Order = ORDERS[0];
  #selected: string | undefined;
  #map: { readonly region: string; readonly cells: Uint8Array } | undefined;
  #trouble: string | undefined;
  #since = '';
  #drawing = Promise.resolve();

  constructor(options: TopOptions) {
    this.#options = options;
    this.#before = options.first;
    this.#sample = sampleOf(options.first, undefined);
    this.#selected = sorted(this.#sample.regions, this.#order)[0]?.name;
  }

  /** Ends when q was pressed; ERR_ABORTED for an interrupt. The terminal is as before then. */
  async run(signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    let failure: unknown;
    const end = (why?: unknown) => {
      failure ??= why;
      ended.abort();
    };
    const interrupt = () => end(new FarpageError('ERR_ABORTED', 'top'));
    signal.addEventListener('abort', interrupt, { once: true });
    using screen = new Screen({
      onKey: (key) => {
        if (key.ctrl && key.name === 'c') interrupt();
        else if (key.name === 'q' || key.name === 'escape') end();
        else if (this.#press(key)) this.#refresh(screen).catch(end);
      },
      onResize: () => {
        screen.clear();
        this.#refresh(screen).catch(end);
      },
    });
    let next = this.#options.intervalMs;
    await this.#refresh(screen);
    while (!ended.signal.aborted) {
      await restUntil(next, ended.signal);
      if (ended.signal.aborted) break;
      const begun = performance.now();
      await this.#poll();
      await this.#refresh(screen);
      next = Math.max(this.#options.intervalMs - (performance.now() - begun), 50);
    }
    signal.removeEventListener('abort', interrupt);
    if (failure !== undefined) throw failure;
  }

  /** Takes a key that changes what is shown; false for any other. */
  #press({ name }: Key): boolean {
    if (name === 's') this.#order = nextOrder(this.#order);
    else if (name === 'up') this.#move(-1);
    else if (name === 'down') this.#move(1);
    else return false;
    return true;
  }

  #move(by: number): void {
    const names = sorted(this.#sample.regions, this.#order).map(({ name }) => name);
    const at = names.indexOf(this.#selected ?? '') + by;
    this.#selected = names[Math.min(Math.max(at, 0), names.length - 1)];
  }

  async #poll(): Promise<void> {
    try {
      const now = await this.#options.read();
      this.#sample = sampleOf(now, this.#before);
      this.#before = now;
      this.#trouble = undefined;
    } catch (error) {
      this.#note(error);
      // What it counts once it is back says nothing about the time between.
      this.#before = undefined;
    }
    const { regions } = this.#sample;
    if (!regions.some(({ name }) => name === this.#selected)) {
      this.#selected = sorted(regions, this.#order)[0]?.name;
    }
  }

  #note(error: unknown): void {
    if (!(error instanceof FarpageError)) throw error;
    if (this.#trouble === undefined) this.#since = new Date().toTimeString().slice(0, 8);
    this.#trouble = `no figures since ${this.#since}: ${error.message}`;
  }

  /** Frames are drawn one after the other, each of what is known when its turn comes. */
  #refresh(screen: Screen): Promise<void> {
    this.#drawing = this.#drawing.then(() => this.#draw(screen));
    return this.#drawing;
  }

  async #draw(screen: Screen): Promise<void> {
    const { columns, rows } = screen;
    const region = this.#selected;
    const total = this.#sample.regions.find(({ name }) => name === region)?.pages.total ?? 0;
    const cells = Math.min(pictureSize(screen), total);
    if (region !== undefined && cells > 0 && this.#trouble === undefined) {
      try {
        this.#map = { region, cells: await this.#options.cellsOf(region, cells) };
      } catch (error) {
        if (!(error instanceof FarpageError)) throw error;
        this.#map = undefined; // It has just gone: the next reading says so.
      }
    }
    const lines = await frameOf({
      columns,
      rows: rows - 1,
      title: `${this.#options.title}, every ${this.#options.intervalMs / 1000} s`,
      sample: this.#sample,
      order: this.#order,
      selected: region,
      cells: this.#map?.region === region ? this.#map?.cells : undefined,
      trouble: this.#trouble,
      color: this.#options.color,
    });
    screen.show(lines);
  }
}

/** Waits so long, or until the signal says that there is nothing to wait for. */
function restUntil(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done, { once: true });
  });
}
