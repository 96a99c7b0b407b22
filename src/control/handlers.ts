/** What an appliance has to offer for the control plane to serve it. */
import type { Door } from './authorize.js';
import type { Params, Received, ReceivedQuery, Reply, RouteName } from './routes.js';

/** One validated request. */
export interface Call<K extends RouteName> {
  readonly params: Params<K>;
  readonly query: ReceivedQuery<K>;
  readonly body: Received<K>;
  readonly door: Door;
}

export type Handlers = {
  readonly [K in RouteName]: (call: Call<K>) => Reply<K> | Promise<Reply<K>>;
};

/** A control connection that keeps a session alive. */
export interface Hold {
  /** Settles when the session ends. */
  readonly ended: Promise<void>;
  /** To be called once, when the connection is gone. */
  release(): void;
}

export interface ControlService {
  readonly handlers: Handlers;
  /** Ties a session's life to a connection; throws ERR_SESSION_ENDED. */
  hold(session: string): Hold;
  /** That names stand for these regions; throws ERR_REGION_REMOVED, ERR_NO_SUCH_REGION. */
  means(names: readonly string[], lineages: readonly string[]): void;
  /** Prometheus text of `/metrics`. */
  metrics(): Promise<{ contentType: string; text: string }>;
}
