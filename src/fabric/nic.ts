/** The software RNIC: event loops that serve regions to connections, and the doors they come by. */
import { ERROR_TEXT, FarpageError } from '../errors.js';
import type { NicHandle, NicOptions, NicStats, PagerHandle } from '../native/binding.js';
import { native } from '../native/load.js';
import { ProtectionDomain } from './protection-domain.js';

export class Nic implements Disposable {
  readonly #handle: NicHandle;
  #closed = false;

  private constructor(handle: NicHandle) {
    this.#handle = handle;
  }

  /** Starts the event loops of a NIC that takes its faults to `pager`. */
  static open(pager: PagerHandle, options: NicOptions): Nic {
    return new Nic(native().nicOpen(pager, options));
  }

  /**
   * Accepts connections with tickets; returns the port that was bound. ERR_ADDRESS_IN_USE, ERR_IO
   * and others, with the address.
   */
  listenTcp(options: { host: string; port: number }): number {
    try {
      return native().nicListenTcp(this.#open, options);
    } catch (error) {
      if (!(error instanceof FarpageError)) throw error;
      const where = `${options.host}:${options.port}`;
      const text = error.message.replace(`${ERROR_TEXT[error.code]}: `, '');
      throw new FarpageError(error.code, `${where}: ${text}`, { cause: error });
    }
  }

  /** Accepts connections with tickets on a Unix socket; ERR_SOCKET_PATH, ERR_ADDRESS_IN_USE. */
  listenUnix(path: string): void {
    native().nicListenUnix(this.#open, path);
  }

  /** Opens a protection domain on this NIC. */
  protectionDomain(options: { connectionsMax: number }): ProtectionDomain {
    return ProtectionDomain.open(this.#open, options);
  }

  /** Counters since it was opened. */
  stats(): NicStats {
    return native().nicStats(this.#handle);
  }

  /** Stops accepting, ends every connection, joins the event loops. Idempotent. */
  close(): void {
    this.#closed = true;
    native().nicClose(this.#handle);
  }

  /** The handle, for what a closed NIC cannot do any more; ERR_CLOSED. */
  get #open(): NicHandle {
    if (this.#closed) throw new FarpageError('ERR_CLOSED', 'NIC');
    return this.#handle;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
