/** Records of regions whose pages come from a file behind HTTP(S). */
import type { RegionSpec } from '../control/schema.js';
import { isWebUrl, parseWebUrl, shownUrl } from '../control/web-url.js';
import { FarpageError } from '../errors.js';
import { checkAligned } from './aligned.js';
import type { WebVersion } from './http-file.js';
import type { RegionRecord } from './record.js';

/** The URL of a request that names a file behind HTTP(S), as what it is or as what it copies. */
export function webUrlOf({ file, from }: Pick<RegionSpec, 'file' | 'from'>): string | undefined {
  return [from, file].find(isWebUrl);
}

function refuse(condition: boolean | undefined, why: string): void {
  if (condition) throw new FarpageError('ERR_ARGUMENT', why);
}

/** The range of the file that is asked for: ERR_ALIGNMENT, ERR_RANGE, ERR_ARGUMENT. */
function sizeOf(spec: RegionSpec, url: string, version: WebVersion): number {
  checkAligned('offset', spec.offset);
  const rest = version.size - spec.offset;
  const size = spec.length ?? rest;
  if (rest <= 0 || size > rest) {
    const range = `${spec.offset} + ${spec.length ?? 0}`;
    const which = `${shownUrl(url)}, which has ${version.size} bytes`;
    throw new FarpageError('ERR_RANGE', `${range} in ${which}`);
  }
  refuse(size === 0, 'a length of 0 maps nothing');
  if (size !== rest) checkAligned('length', size);
  return size;
}

/**
 * With `from` a copy, which keeps what is written to it; with `file` the file itself, which no
 * standard way leads bytes back to. ERR_ARGUMENT, ERR_ALIGNMENT, ERR_RANGE, ERR_UNSUPPORTED.
 */
export function webRecord(
  spec: RegionSpec,
  version: WebVersion,
): Pick<RegionRecord, 'access' | 'size' | 'resident' | 'source'> {
  const { from, file, fromTokenFile: tokenFile, resident = 0, offset } = spec;
  const keep = from !== undefined;
  const url = parseWebUrl(webUrlOf(spec) ?? '').href;
  refuse(keep && file !== undefined, 'a copy has the contents of its source');
  refuse(keep && (offset !== 0 || spec.length !== undefined), 'a copy is one of the whole file');
  const others = [spec.size, spec.fill].some((given) => given !== undefined);
  refuse(others || spec.make, 'size and contents are those of the file behind the URL');
  refuse(spec.reserve, 'a region of a URL is allocated at once');
  refuse(spec.writeBehind, 'writeBehind needs a local file');
  refuse(spec.persist && !keep, 'what is only read persists by itself');
  refuse(
    spec.kind !== undefined && spec.kind !== 'staged',
    `a file behind HTTP is staged, not ${spec.kind}`,
  );
  const size = sizeOf(spec, url, version);
  const { access = keep ? 'read-write' : 'read-only' } = spec;
  if (!keep && access === 'read-write') {
    throw new FarpageError('ERR_UNSUPPORTED', takesNoWrites(url));
  }
  const token = tokenFile === undefined ? {} : { tokenFile };
  return { access, size, resident, source: { kind: 'web', url, offset, keep, version, ...token } };
}

/** Why nothing is written to a file behind HTTP(S), and what to do instead. */
export function takesNoWrites(url: string): string {
  return `${shownUrl(url)} takes no writes; a copy of it (--from) keeps them here`;
}
