/** A client's session at the appliance: opened, held, and opened anew when it was lost. */
import { fabricDoorOf } from '../control/address.js';
import type { CallOptions, ControlClient } from '../control/http-client.js';
import type { Reply, RouteName, Sent } from '../control/routes.js';
import type { Attachment, SessionReply } from '../control/schema.js';
import { holdSession } from '../control/session-hold.js';
import { FarpageError } from '../errors.js';
import type { QueuePairOptions } from '../fabric/queue-pair.js';
import { Attached } from './attached.js';
import { type Limits, NO_LIMITS } from './limits.js';

/** Who calls routes of the control plane: a session, or an attachment of it. */
export type Caller = Pick<ControlClient, 'call'>;

/**
 * Calls for one attachment: ERR_CLOSED once it was given back, or its client was closed, and
 * ERR_REGION_REMOVED where its name stands for another region.
 */
export function callerOf(attached: Attached, session: Caller): Caller {
  return {
    call: async (name, options) => {
      if (attached.isOver) throw attached.lost;
      return await session.call(name, { ...options, lineages: [attached.reply.lineage] });
    },
  };
}

/** How many sessions one call may find ended. */
const SESSIONS_MAX = 3;
/** What part of its life a ticket may have behind it when a connection is begun with it. */
const TICKET_SHARE = 2;

export class ClientSession {
  readonly #control: ControlClient;
  readonly #attached = new Set<Attached>();
  #reply: SessionReply | undefined;
  /** Until when the ticket that came with the session is shown, in ms of `performance.now()`. */
  #freshUntil = 0;
  #renewal: Promise<void> | undefined;
  #endHold: (() => void) | undefined;
  #closed = false;

  constructor(control: ControlClient) {
    this.#control = control;
  }

  /** Calls any route of the appliance; ERR_CLOSED once this is closed. */
  async call<K extends RouteName>(name: K, options: CallOptions<K>): Promise<Reply<K>> {
    if (this.#closed) throw new FarpageError('ERR_CLOSED', 'client');
    try {
      return await this.#control.call(name, options);
    } catch (error) {
      // What ended its connection was the end of this.
      if (this.#closed) throw new FarpageError('ERR_CLOSED', 'client', { cause: error });
      throw error;
    }
  }

  /** Opens it; ERR_NO_APPLIANCE, ERR_TOKEN, ERR_QUOTA. */
  async open(limits: Limits): Promise<string> {
    const asked = performance.now();
    const reply = await this.#control.call('openSession', limits);
    this.#endHold?.();
    this.#reply = reply;
    this.#freshUntil = asked + reply.ticketMs / TICKET_SHARE;
    // At once: who blocks this thread for longer than the grace is alive all the same.
    if (!this.#closed) this.#endHold = holdSession(this.#control, reply);
    return reply.session;
  }

  /** Where to connect and with which ticket; opens the session anew when it has ended. */
  async door(): Promise<Pick<QueuePairOptions, 'path' | 'host' | 'port' | 'ticket'>> {
    // Who connects before the STags are those of the new session would ask with old ones.
    await this.#renewal;
    // The first ticket came with the session; whoever was held up since then shows another one.
    const fresh = performance.now() < this.#freshUntil;
    this.#freshUntil = 0;
    const ticket = fresh ? this.#current.ticket : await this.#ticket();
    return {
      ...fabricDoorOf(this.#control.address, this.#current.fabric),
      ticket: Buffer.from(ticket, 'hex'),
    };
  }

  /** Attaches a region; it stays attached when the session is opened anew. */
  async attach(request: Sent<'attach'>, limits: Limits): Promise<Attached> {
    const reply = await this.#inSession((session) =>
      this.#control.call('attach', { ...limits, params: { session }, body: request }),
    );
    return this.#keep(request, reply);
  }

  /** Makes a region and attaches it. */
  async allocate(body: Sent<'allocate'>, limits: Limits): Promise<Attached> {
    const reply = await this.#inSession((session) =>
      this.#control.call('allocate', { ...limits, params: { session }, body }),
    );
    const request = { region: reply.region, access: reply.access, carve: reply.carve };
    return this.#keep(request, reply);
  }

  /**
   * Gives an attachment back; what it is used for from now on ends with ERR_CLOSED. `settled`
   * waits for what was begun before, which would meet an STag that is no more. Idempotent.
   */
  async detach(attached: Attached, limits: Limits, settled: () => Promise<unknown>): Promise<void> {
    if (!this.#attached.delete(attached)) return;
    const { lost, reply } = attached;
    attached.close();
    // A session that ended has given back everything.
    if (lost !== undefined || this.#closed) return;
    const { session } = this.#current;
    await settled().catch(() => {}); // Told by the operations themselves.
    if (this.#closed || this.#current.session !== session) return;
    await this.#control.call('detach', { ...limits, params: { session, stag: reply.stag } });
  }

  /** Ends the session at the appliance, if that can be reached. Idempotent. */
  async close(limits: Limits): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#endHold?.();
    if (this.#reply === undefined) return;
    const params = { session: this.#reply.session };
    // If nobody hears it, the session ends by its grace.
    await this.#control.call('closeSession', { ...limits, params }).catch(() => {});
  }

  get #current(): SessionReply {
    if (this.#reply === undefined) throw new FarpageError('ERR_SESSION_ENDED', 'not opened yet');
    return this.#reply;
  }

  #keep(request: Sent<'attach'>, reply: Attachment): Attached {
    const attached = new Attached(request, reply, {
      attach: async (body) => {
        const params = { session: this.#current.session };
        return await this.#control.call('attach', { params, body });
      },
      detach: async (stag) => {
        const params = { session: this.#current.session, stag };
        return await this.#control.call('detach', { params });
      },
      regain: async (again) => {
        const { session } = this.#current;
        await again.renew({ restarted: false });
        if (again.lost?.code === 'ERR_SESSION_ENDED') await this.#renew(session);
      },
    });
    this.#attached.add(attached);
    return attached;
  }

  async #ticket(): Promise<string> {
    const reply = await this.#inSession((session) =>
      this.#control.call('openTicket', { params: { session } }),
    );
    return reply.ticket;
  }

  /**
   * Runs a call of the session. One that has ended, or ends meanwhile, is opened anew first, and
   * the call made again: what it gave is worth nothing then.
   */
  async #inSession<T>(call: (session: string) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      if (this.#closed) throw new FarpageError('ERR_CLOSED', 'client');
      const { session } = this.#current;
      try {
        const reply = await call(session);
        if (this.#current.session === session || tries === SESSIONS_MAX) return reply;
      } catch (error) {
        const ended = error instanceof FarpageError && error.code === 'ERR_SESSION_ENDED';
        if (!ended || tries === SESSIONS_MAX) throw error;
      }
      await this.#renew(session);
    }
  }

  /** Opens the session anew, unless somebody has; those who find it ended share one attempt. */
  async #renew(ended: string): Promise<void> {
    if (this.#renewal === undefined && this.#current.session === ended) {
      this.#renewal = this.#reopen().finally(() => {
        this.#renewal = undefined;
      });
    }
    await this.#renewal;
  }

  async #reopen(): Promise<void> {
    const { start } = this.#current;
    await this.open(NO_LIMITS);
    const restarted = this.#current.start !== start;
    for (const attached of [...this.#attached]) await attached.renew({ restarted });
  }
}
