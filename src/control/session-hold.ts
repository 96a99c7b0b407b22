/** Holding a session: a reply that stays open, and is opened again each time that it ends. */
import type { ControlClient } from './http-client.js';
import { HOLD_PATH } from './routes.js';

/** Pause before a lost connection that held the session is opened again. */
const HOLD_AGAIN_MS = 10;
/** The same, after one that could not be opened. */
const HOLD_RETRY_MS = 500;

/**
 * Keeps a session alive on a connection of its own, which does not hold the process, and calls
 * nobody back: a session that has ended, or whose appliance cannot be reached for the grace, is
 * found out by its next call. Returns what lets it go.
 */
export function holdSession(
  control: ControlClient,
  { session, graceMs }: { session: string; graceMs: number },
): () => void {
  const path = HOLD_PATH.replace(':session', session);
  let stood = performance.now();
  let timer: NodeJS.Timeout | undefined;
  let close = () => {};
  const open = () => {
    close = control.open(path, (status) => {
      if (status === 200) stood = performance.now();
      const refused = status !== undefined && status !== 200;
      if (refused || performance.now() - stood > graceMs) return;
      timer = setTimeout(open, status === 200 ? HOLD_AGAIN_MS : HOLD_RETRY_MS).unref();
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    close();
  };
}
