/** Sources elsewhere: what they are when a region is made, and who supplies its pages later. */
import type { Door } from '../control/authorize.js';
import { contextOf } from '../control/codes.js';
import type { RegionSpec } from '../control/schema.js';
import { FarpageError } from '../errors.js';
import { checkUrl } from './allowed-urls.js';
import { HttpFile, type WebVersion } from './http-file.js';
import { CONNECTIONS_MAX } from './http-get.js';
import { PageCallbacks } from './page-callbacks.js';
import type { Origin, RegionRecord } from './record.js';
import { RemoteSource } from './remote-source.js';
import { webUrlOf } from './web-record.js';

/** Who asks, and what the URLs that TCP clients may name begin with. */
export interface Asker {
  readonly door: Door;
  readonly allowed: readonly string[];
}

function httpFileOf(
  { url, tokenFile }: { url: string; tokenFile?: string | undefined },
  { door, allowed }: Asker,
): HttpFile {
  // What a TCP client may not name, a server may not send the appliance on to for it.
  const check = (to: string) => checkUrl(to, { door, allowed, tokenFile: undefined });
  return new HttpFile({ url, tokenFile, check });
}

/**
 * What the source of a request is now; nothing when it has none elsewhere. ERR_URL_NOT_ALLOWED and
 * what `RemoteSource.probe` and `HttpFile.probe` fail with.
 */
export async function probe(
  spec: RegionSpec,
  asker: Asker,
): Promise<Origin | WebVersion | undefined> {
  const web = webUrlOf(spec);
  const url = web ?? spec.from;
  if (url === undefined) return undefined;
  const { fromTokenFile: tokenFile } = spec;
  checkUrl(url, { ...asker, tokenFile });
  const source =
    web === undefined
      ? new RemoteSource({ url, tokenFile })
      : httpFileOf({ url, tokenFile }, asker);
  try {
    return await source.probe();
  } finally {
    source.close();
  }
}

/** A server that answers as it did not when the region was made is another source by now. */
function readFailure(error: unknown): unknown {
  if (!(error instanceof FarpageError) || error.code !== 'ERR_PROTOCOL') return error;
  return new FarpageError('ERR_SOURCE_CHANGED', contextOf(error), { cause: error });
}

/** Who supplies the pages of a region of a file behind HTTP(S), unless it is a detached copy. */
export function pagesOf(
  { source, door }: RegionRecord,
  allowed: readonly string[],
): PageCallbacks | undefined {
  if (source.kind !== 'web' || source.detached) return undefined;
  const file = httpFileOf(source, { door, allowed });
  return new PageCallbacks(
    {
      fill: async ({ offset }, into, signal, alive) => {
        const options = { expected: source.version, signal, alive };
        await file.read(source.offset + offset, into, options).catch((error) => {
          throw readFailure(error);
        });
      },
      concurrency: CONNECTIONS_MAX,
    },
    () => file.close(),
  );
}
