/** A file behind HTTP(S), read by ranges (RFC 9110 section 14) and never another one unnoticed. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseWebUrl, shownUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';
import { brokenBy, get, HttpAgents, refusalOf } from './http-get.js';
import { readAuthorization } from './token.js';

/** What tells one version of a file from another: RFC 9110 section 8.8, and its size in bytes. */
export interface WebVersion {
  readonly size: number;
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
}

/** Between one try and the next, while the server is away. */
const PAUSES_MS: readonly number[] = [100, 300, 900];
const PROBE_MS = 5000;

const isStrong = (etag: string | undefined) => etag?.startsWith('"') ?? false;

function versionOf(headers: IncomingHttpHeaders, size: number): WebVersion {
  const { etag, 'last-modified': lastModified } = headers;
  return {
    size,
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && { lastModified }),
  };
}

/** Has the server refuse another version (RFC 9110 section 13.1); weak tags are no condition. */
function conditionOf({ etag, lastModified }: WebVersion): Record<string, string> {
  if (etag !== undefined && isStrong(etag)) return { 'if-match': etag };
  return lastModified === undefined ? {} : { 'if-unmodified-since': lastModified };
}

/** Servers may ignore the condition: what they say of themselves counts. */
function isSame(expected: WebVersion, found: WebVersion): boolean {
  if (expected.size !== found.size) return false;
  if (expected.etag !== undefined && expected.etag !== found.etag) return false;
  return isStrong(expected.etag) || expected.lastModified === found.lastModified;
}

interface Part {
  readonly first: number;
  readonly last: number;
  readonly size: number;
}

/** `bytes 0-99/1234`; nothing for anything else, an unknown size among it. */
function partOf(text: string | undefined): Part | undefined {
  const found = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/i.exec(text ?? '');
  if (found === null) return undefined;
  return { first: Number(found[1]), last: Number(found[2]), size: Number(found[3]) };
}

/** How the bytes are encoded, though it was asked that they are not (RFC 9110 section 8.4). */
function encodingOf(headers: IncomingHttpHeaders): string | undefined {
  const encoding = headers['content-encoding']?.trim().toLowerCase() || 'identity';
  return encoding === 'identity' ? undefined : encoding;
}

/** Nothing is contacted before the first `probe` or `read`. */
export class HttpFile {
  readonly #url: URL;
  readonly #tokenFile: string | undefined;
  readonly #check: (url: string) => void;
  readonly #agents = new HttpAgents();
  /** Where redirects led last: asked directly until that fails. */
  #found: URL | undefined;

  /** `check` throws for a URL that redirects may not lead to. ERR_ARGUMENT, ERR_TOKEN. */
  constructor(options: {
    url: string;
    tokenFile?: string | undefined;
    check?: (url: string) => void;
  }) {
    this.#url = parseWebUrl(options.url);
    this.#tokenFile = options.tokenFile;
    this.#check = options.check ?? (() => {});
    if (this.#tokenFile !== undefined) readAuthorization(this.#tokenFile);
  }

  /**
   * What the file is now. ERR_FILE_NOT_FOUND, ERR_FILE_ACCESS, ERR_FILE_EMPTY, ERR_UNSUPPORTED when
   * the server has no ranges, ERR_SOURCE_AWAY, ERR_TIMEOUT, ERR_URL_NOT_ALLOWED, ERR_PROTOCOL.
   */
  async probe(): Promise<WebVersion> {
    const late = new FarpageError('ERR_TIMEOUT', shownUrl(this.#url));
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(late), PROBE_MS);
    try {
      return await this.#repeat(abort.signal, async () => {
        const response = await this.#ask('bytes=0-0', {}, abort.signal).catch((error: unknown) => {
          const gone = error instanceof FarpageError && error.code === 'ERR_SOURCE_CHANGED';
          throw gone ? new FarpageError('ERR_FILE_NOT_FOUND', shownUrl(this.#url)) : error;
        });
        response.on('error', () => {}).destroy();
        return this.#met(response);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Reads a range into memory as long as it. ERR_SOURCE_CHANGED when the file is not `expected` any
   * more, ERR_SOURCE_AWAY, ERR_FILE_ACCESS, ERR_PROTOCOL for an answer that is not what was asked
   * for, and the signal's reason. `alive` is called whenever bytes have come.
   */
  async read(
    offset: number,
    into: Uint8Array,
    options: { expected: WebVersion; signal: AbortSignal; alive?: () => void },
  ): Promise<void> {
    const { expected, signal, alive = () => {} } = options;
    const range = `bytes=${offset}-${offset + into.length - 1}`;
    await this.#repeat(signal, async () => {
      const response = await this.#ask(range, conditionOf(expected), signal);
      try {
        this.#checkPart(response, { offset, length: into.length, expected });
        await this.#receive(response, into, alive);
      } catch (error) {
        throw brokenBy(error, this.#url, signal);
      } finally {
        response.on('error', () => {}).destroy();
      }
    });
  }

  /** Ends every connection. Idempotent. */
  close(): void {
    this.#agents.close();
  }

  /** Tries again, after growing pauses, what ended because the server is away. */
  async #repeat<T>(signal: AbortSignal, once: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        return await once();
      } catch (error) {
        // The place that redirects led to may be good for a while only.
        const stale = this.#found !== undefined;
        this.#found = undefined;
        if (stale && tries === 0 && !signal.aborted) continue;
        const pause = PAUSES_MS[tries];
        const away = error instanceof FarpageError && error.code === 'ERR_SOURCE_AWAY';
        if (!away || pause === undefined || signal.aborted) throw error;
        await sleep(pause, undefined, { signal }).catch(() => {
          throw signal.reason;
        });
      }
    }
  }

  /** The response to a range, if it is one that brings bytes. */
  async #ask(
    range: string,
    condition: Record<string, string>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const authorization =
      this.#tokenFile === undefined ? undefined : readAuthorization(this.#tokenFile);
    // The authorization is the named origin's: who was redirected to has none of it.
    const direct = this.#found ?? this.#url;
    const own = direct.origin === this.#url.origin ? authorization : undefined;
    const { response, at } = await get(direct, {
      agents: this.#agents,
      headers: { range, ...condition },
      authorization: own,
      signal,
      check: this.#check,
    });
    const refusal = refusalOf(response.statusCode, at);
    if (refusal === undefined) {
      if (at.href !== this.#url.href) this.#found = at;
      return response;
    }
    response.on('error', () => {}).destroy();
    if (response.statusCode === 416 && response.headers['content-range'] === 'bytes */0') {
      throw new FarpageError('ERR_FILE_EMPTY', shownUrl(this.#url));
    }
    throw refusal;
  }

  #met({ statusCode, headers }: IncomingMessage): WebVersion {
    const name = shownUrl(this.#url);
    if (statusCode !== 206) throw new FarpageError('ERR_UNSUPPORTED', `${name} sends no ranges`);
    const part = partOf(headers['content-range']);
    if (part?.first !== 0 || !Number.isSafeInteger(part.size)) {
      throw new FarpageError('ERR_UNSUPPORTED', `${name} does not tell its size`);
    }
    const encoding = encodingOf(headers);
    if (encoding === undefined) return versionOf(headers, part.size);
    // Its size and ranges would be those of the encoded bytes.
    throw new FarpageError(
      'ERR_UNSUPPORTED',
      `${name} sends ${encoding}, not the bytes themselves`,
    );
  }

  #checkPart(
    { statusCode, headers }: IncomingMessage,
    { offset, length, expected }: { offset: number; length: number; expected: WebVersion },
  ): void {
    const name = shownUrl(this.#url);
    const part = partOf(headers['content-range']);
    const length200 = headers['content-length'] ?? expected.size;
    const size = statusCode === 206 ? (part?.size ?? expected.size) : Number(length200);
    if (!isSame(expected, versionOf(headers, size))) {
      throw new FarpageError('ERR_SOURCE_CHANGED', `${name} is another version now`);
    }
    const encoding = encodingOf(headers);
    if (statusCode !== 206) throw new FarpageError('ERR_PROTOCOL', `${name} sent all, not a range`);
    if (encoding !== undefined) throw new FarpageError('ERR_PROTOCOL', `${name} sent ${encoding}`);
    if (part?.first === offset && part.last === offset + length - 1) return;
    const sent = headers['content-range'] ?? 'no range';
    throw new FarpageError('ERR_PROTOCOL', `${name} sent ${sent}, not ${offset} + ${length}`);
  }

  async #receive(response: IncomingMessage, into: Uint8Array, alive: () => void): Promise<void> {
    const name = shownUrl(this.#url);
    let at = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (at + chunk.length > into.length) {
        throw new FarpageError('ERR_PROTOCOL', `${name} sent more than it said`);
      }
      into.set(chunk, at);
      at += chunk.length;
      alive();
    }
    if (at < into.length) throw new FarpageError('ERR_PROTOCOL', `${name} sent less than it said`);
  }
}
