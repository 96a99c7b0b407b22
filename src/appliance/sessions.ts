/** The sessions of one appliance. */
import { FarpageError } from '../errors.js';
import type { Nic } from '../fabric/nic.js';
import { admit, type Quota } from './quota.js';
import type { Region } from './region.js';
import type { RegionAccessUnit } from './region-access-unit.js';
import { Session } from './session.js';

export class Sessions {
  readonly graceMs: number;
  readonly #nic: Nic;
  readonly #unit: RegionAccessUnit;
  readonly #quota: Quota;
  readonly #sessions = new Map<string, Session>();

  constructor(options: { nic: Nic; unit: RegionAccessUnit; quota: Quota; graceMs: number }) {
    this.#nic = options.nic;
    this.#unit = options.unit;
    this.#quota = options.quota;
    this.graceMs = options.graceMs;
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** Opens a session; ERR_QUOTA when there are too many. */
  open(): Session {
    const { sessionsMax, connectionsMax, sessionAllocatedBytesMax } = this.#quota;
    admit('sessionsMax', { wanted: this.#sessions.size + 1, max: sessionsMax });
    const session = new Session({
      domain: this.#nic.protectionDomain({ connectionsMax }),
      account: this.#unit.account(sessionAllocatedBytesMax),
      quota: this.#quota,
      graceMs: this.graceMs,
      onEnd: (ended) => void this.#end(ended),
    });
    this.#sessions.set(session.id, session);
    return session;
  }

  /** The session of an identity, which thereby stays alive; ERR_SESSION_ENDED. */
  find(id: string): Session {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new FarpageError('ERR_SESSION_ENDED');
    session.touch();
    return session;
  }

  /** Ends one session and what it owned. */
  async close(id: string): Promise<void> {
    await this.#end(this.find(id));
  }

  /** Tells every session that a region is gone, so that it counts in no quota any more. */
  forget(region: Region): void {
    for (const session of this.#sessions.values()) session.allocated.delete(region);
  }

  /** Ends all of them. Idempotent. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => this.#end(session)));
  }

  async #end(session: Session): Promise<void> {
    if (!this.#sessions.delete(session.id)) return;
    // What it had sent is not to land where somebody else carves, who does not wait for the rest:
    // regions of its own take to end what the devices below them take.
    session.letGo();
    this.#unit.endCarving(session.id);
    try {
      // Before its STags of them: what still runs on them ends with the region's own code.
      await this.#unit.release(session.id);
    } finally {
      session.close();
    }
  }
}
