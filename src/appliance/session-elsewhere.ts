/** A session of this appliance at another one, for one region there. */
import { fabricDoorOf } from '../control/address.js';
import type { ControlClient } from '../control/http-client.js';
import type { Sent } from '../control/routes.js';
import type { Attachment } from '../control/schema.js';
import { holdSession } from '../control/session-hold.js';
import { type ErrorCode, FarpageError } from '../errors.js';
import type { SourceDoor } from '../native/binding.js';

/** Bound on each call to the other appliance; its fabric has deadlines of its own. */
const TIMEOUT_MS = 2000;

/** What the native side is told when the other appliance refuses, where the codes differ. */
const TOLD: Partial<Record<ErrorCode, ErrorCode>> = {
  ERR_NO_APPLIANCE: 'ERR_CONNECTION',
  ERR_SESSION_ENDED: 'ERR_CONNECTION',
  ERR_NO_SUCH_REGION: 'ERR_SOURCE_CHANGED',
  ERR_TOKEN: 'ERR_ACCESS',
};

/** The code that tells the native side why `error` left it without a door. */
export function refusalOf(error: unknown): ErrorCode {
  if (!(error instanceof FarpageError)) return 'ERR_INTERNAL';
  return TOLD[error.code] ?? error.code;
}

/** The region as it is attached now, the way to it, and the end of both. */
export interface SessionElsewhere {
  readonly id: string;
  readonly attached: Attachment;
  readonly door: SourceDoor;
  /** Settles once the other appliance lets nothing of this session through any more. */
  readonly end: () => Promise<void>;
}

/** Opens a session and attaches the region. ERR_NO_APPLIANCE, ERR_NO_SUCH_REGION, ERR_TIMEOUT. */
export async function openElsewhere(
  control: ControlClient,
  body: Sent<'attach'>,
): Promise<SessionElsewhere> {
  const limits = { timeoutMs: TIMEOUT_MS };
  const opened = await control.call('openSession', limits);
  const params = { session: opened.session };
  // The other side ends the session by its grace once nobody holds it.
  const endHold = holdSession(control, opened);
  const end = async (): Promise<void> => {
    endHold();
    try {
      await control.call('closeSession', { ...limits, params });
    } catch (error) {
      // Another process there knows nothing of it: it has ended.
      if (!(error instanceof FarpageError) || error.code !== 'ERR_SESSION_ENDED') throw error;
    }
  };
  try {
    const attached = await control.call('attach', { ...limits, params, body });
    const ticket = Buffer.from(opened.ticket, 'hex');
    const where = fabricDoorOf(control.address, opened.fabric);
    const door = { ...where, ticket, stag: attached.stag };
    return { id: opened.session, attached, door, end };
  } catch (error) {
    end().catch(() => {});
    throw error;
  }
}
