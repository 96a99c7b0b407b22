/** URLs of files behind HTTP and HTTPS. */
import { FarpageError } from '../errors.js';

/** Whether it names a file behind HTTP(S), rather than a path or a region elsewhere. */
export function isWebUrl(text: string | undefined): text is string {
  return text !== undefined && /^https?:\/\//i.test(text);
}

/** ERR_ARGUMENT for what is none, and for a user or password in it: secrets do not belong there. */
export function parseWebUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new FarpageError('ERR_ARGUMENT', 'this is no URL', { cause });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new FarpageError('ERR_ARGUMENT', `${url.protocol} is neither http: nor https:`);
  }
  if (url.username !== '' || url.password !== '') {
    const how = 'may not contain a secret; put it into a file and name that with --from-token-file';
    throw new FarpageError('ERR_ARGUMENT', `the URL of ${url.host} ${how}`);
  }
  url.hash = '';
  return url;
}

/** For people and logs: without its query, which may hold a signature. */
export function shownUrl(url: string | URL): string {
  const { origin, pathname, search } = new URL(url);
  return `${origin}${pathname}${search === '' ? '' : '?…'}`;
}

/** The last part of its path, as a file's base name; empty when there is none. */
export function fileNameOf(url: string): string {
  const last = parseWebUrl(url).pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
