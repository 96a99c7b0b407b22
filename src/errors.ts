/** Every error code of Farpage with a sentence that says what happened and what to do about it. */
export const ERROR_TEXT = {
  ERR_ARGUMENT: 'an argument has the wrong type or value; correct the one named here',
  ERR_SIZE: 'not a size; write bytes or K, M, G, T (powers of 1024), for instance 4GiB',
  ERR_RANGE:
    'the range lies outside of the region or file; keep offset plus length within its size',
  ERR_ALIGNMENT:
    'the value is not a multiple of what it must be; use the nearest multiple named here',
  ERR_NAME: 'not a region name; use 1 to 128 of the characters A-Z a-z 0-9 . _ - (not . or ..)',
  ERR_NO_SUCH_REGION: 'there is no such region; `farpage regions` lists those there are',
  ERR_REGION_EXISTS: 'a region of this name exists already; choose another name or remove it first',
  ERR_REGION_REMOVED: 'the region was removed; create it again or use another one',
  ERR_REGION_BUSY:
    'the region is in use by another operation or file range; try again when it ended',
  ERR_REGION_CARVED:
    'no right to carve slabs out of the region; attach it with carve, or use explicit offsets',
  ERR_REGION_DIRTY: 'the region has unwritten pages; repeat with --sync or --discard',
  ERR_FILE_NOT_FOUND:
    'the file does not exist; check the path, or let `create` make it with --size and --make',
  ERR_FILE_EMPTY: 'the file is empty; give it a size first, for instance with truncate(1)',
  ERR_FILE_ACCESS: 'the file may not be opened like that; check its rights or use read-only access',
  ERR_FILE_KIND: 'not a regular file; name a regular file',
  ERR_FILE_LOCKED: 'another process has locked the file; end that process or wait for it',
  ERR_FILE_CHANGED:
    'the file was cut, replaced or deleted underneath; put it back, or copy the region elsewhere',
  ERR_OUTSIDE_ROOT: 'the path leads outside of --root; move the file below it or widen --root',
  ERR_URL_NOT_ALLOWED:
    'the appliance may not fetch from this URL; allow its prefix with --allow-url',
  ERR_ACCESS: 'the region does not permit this operation; ask for the access that it needs',
  ERR_TOKEN: 'the token is missing or wrong; set FARPAGE_TOKEN or pass --token-file',
  ERR_TICKET: 'the fabric ticket is unknown or no longer valid; open a new session',
  ERR_QUOTA: 'a quota of the session or appliance is used up; release something or have it raised',
  ERR_SESSION_ENDED: 'the session ended before the operation finished; connect again',
  ERR_CONNECTION: 'the connection was lost; try again once the appliance can be reached',
  ERR_NO_APPLIANCE:
    'no appliance answers there; start one with `farpage serve` or pass --appliance',
  ERR_APPLIANCE_RUNNING:
    'an appliance already serves this socket; use it or choose another --socket',
  ERR_ADDRESS_IN_USE: 'the address is in use by another process; choose another port, or port 0',
  ERR_SOCKET_PATH:
    'no socket can be made there (a path has 107 bytes at most); choose another --socket',
  ERR_PROTOCOL: 'the peer broke the protocol; make sure that it speaks this version of Farpage',
  ERR_TIMEOUT: 'the deadline passed; try again, or allow more time with --timeout',
  ERR_ABORTED: 'the caller ended the operation; start it again if that was not meant',
  ERR_OUTCOME_UNKNOWN:
    'the connection broke before the answer, it may or may not be done; read to find out',
  ERR_WRITES_LOST: 'a restart lost writes that no sync had confirmed; write them again, then sync',
  ERR_PAGE_LOST:
    'no copy of the page is left; write all of it, restore its store, or `invalidate --discard`',
  ERR_MEMORY_FULL:
    'memory is full of dirty pages, pages in use, tables; sync, or raise --memory or --resident',
  ERR_ADDRESS_SPACE:
    'no range of addresses of this size is free; use smaller regions, or let others become idle',
  ERR_NO_SPACE:
    'the device or the memory directory is full, dirty pages stay; free some space, then try again',
  ERR_IO: 'the device or file system reported an error; look at the cause and the system log',
  ERR_STAG: 'the steering tag is unknown or was taken back; attach the region again',
  ERR_BOUNDS: 'the access goes beyond what was registered; keep it within the region',
  ERR_SLAB_FULL: 'no free piece of this length is left in the region; free a slab or allocate more',
  ERR_CLOSED: 'the object was closed; open a new one',
  ERR_UNSUPPORTED: 'this machine or peer cannot do that; `farpage doctor` tells what is missing',
  ERR_SOURCE_AWAY:
    'the source of this copy cannot be reached; what is here goes on, try the rest again later',
  ERR_SOURCE_CHANGED:
    'the source of this copy is gone or another one now; put it back, or copy it anew',
  ERR_TIER_AWAY:
    'the tier that has the page cannot be reached; what is here goes on, try again later',
  ERR_SOURCE_NEEDED:
    'pages of this copy are at its source only; run `farpage prefetch` until it is done',
  ERR_NATIVE_MISSING:
    'the native addon cannot be loaded; run `npm approve-scripts farpage`, then `npm rebuild`',
  ERR_LOCKED_STATE: 'another appliance holds the state directory; end it or choose another one',
  ERR_STATE_VERSION:
    'another version of Farpage wrote this, and it was left as it is; use the version named here',
  ERR_STATE_DAMAGED:
    'a file of the appliance is damaged, it was left as it is; do what is advised here',
  ERR_INTERNAL: 'Farpage broke one of its own rules; please report this with the message',
} as const satisfies Record<`ERR_${string}`, string>;

/** Every code that an error of this library can have. */
export type ErrorCode = keyof typeof ERROR_TEXT;

/** True for a code of the registry, for instance one that arrived over the control plane. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_TEXT, value);
}

/**
 * The only error this library throws on purpose. Branch on `code`; `message` says what to do and
 * what it happened to, and `cause` keeps the origin.
 */
export class FarpageError extends Error {
  override readonly name: string = 'FarpageError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, context = '', options?: ErrorOptions) {
    super(context === '' ? ERROR_TEXT[code] : `${ERROR_TEXT[code]}: ${context}`, options);
    this.code = code;
  }
}

/** What a Terminate message says (RFC 5040 section 4.8): the layer, its error type and code. */
export interface RdmapError {
  readonly layer: number;
  readonly type: number;
  readonly code: number;
}

/** An operation that the peer's RNIC refused with a Terminate message. */
export class FabricError extends FarpageError {
  override readonly name = 'FabricError';
  readonly rdmap: RdmapError;

  constructor(code: ErrorCode, rdmap: RdmapError, context = '', options?: ErrorOptions) {
    super(code, context, options);
    this.rdmap = rdmap;
  }
}
