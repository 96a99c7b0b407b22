/** A progress bar on stderr, by cli-progress, and only where somebody looks at it. */
import { formatSize } from '../units.js';
import type { Output } from './output.js';

/** Less than this is done before a bar could be read. */
const BAR_BYTES_MIN = 16 * 1024 * 1024;

export interface Progress extends Disposable {
  /** `bytes` are done by now. */
  update(bytes: number): void;
}

/** A bar up to `total` bytes; a silent one where stderr is no terminal or little is to be done. */
export async function startProgress(out: Output, total: number): Promise<Progress> {
  if (!out.isWatched || out.json || total < BAR_BYTES_MIN) {
    return { update: () => {}, [Symbol.dispose]: () => {} };
  }
  const { default: progress } = await import('cli-progress');
  const bar = new progress.SingleBar({
    format: '[{bar}] {percentage}% of {size}, {eta} s left',
    barCompleteChar: '#',
    barIncompleteChar: '.',
    clearOnComplete: true,
    stream: process.stderr,
  });
  bar.start(total, 0, { size: formatSize(total) });
  return { update: (bytes) => bar.update(bytes), [Symbol.dispose]: () => bar.stop() };
}
