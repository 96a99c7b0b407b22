/**
 * FPDUs by hand: MPA framing (RFC 5044 section 4.1), DDP headers (RFC 5041 section 4), RDMAP
 * messages (RFC 5040 section 4, RFC 7306 section 5.2). Written from the RFCs and not from
 * `native/fabric`, so that the two implementations check each other.
 */
import { crc32c } from './crc32c.js';

export const OP = {
  write: 0x0,
  readRequest: 0x1,
  readResponse: 0x2,
  send: 0x3,
  sendInvalidate: 0x4,
  sendSolicited: 0x5,
  terminate: 0x7,
  immediate: 0x8,
  atomicRequest: 0xa,
  atomicResponse: 0xb,
} as const;

export const QUEUE = { send: 0, request: 1, terminate: 2, atomicResponse: 3 } as const;
export const AOP = { fetchAdd: 0, compareSwap: 2 } as const;

const LAST = 0x40;
const TAGGED = 0x80;
const VERSION = 0x01;
const RDMAP_VERSION = 0x40;
const CRC_BYTES = 4;

/** A big-endian field: value and width in bytes. */
type Field = readonly [value: number | bigint, bytes: 1 | 2 | 4 | 8];

/** Fields one behind the other. */
export function pack(...fields: readonly Field[]): Buffer {
  const out = Buffer.alloc(fields.reduce((sum, [, bytes]) => sum + bytes, 0));
  let at = 0;
  for (const [value, bytes] of fields) {
    if (bytes === 8) out.writeBigUInt64BE(BigInt(value), at);
    else out.writeUIntBE(Number(value), at, bytes);
    at += bytes;
  }
  return out;
}

/** Frames a ULPDU: length in front, zero pad, and the sum or zeros behind. */
export function frame(ulpdu: Uint8Array, crc: boolean): Buffer {
  const pad = (4 - ((2 + ulpdu.length) % 4)) % 4;
  const body = Buffer.concat([pack([ulpdu.length, 2]), ulpdu, Buffer.alloc(pad)]);
  const sum = Buffer.alloc(CRC_BYTES);
  if (crc) sum.writeUInt32LE(crc32c(body));
  return Buffer.concat([body, sum]);
}

/** The ULPDU of one tagged segment. `ddp` and `rdmap` replace the control bytes. */
export function tagged(options: {
  op: number;
  stag: number;
  to: bigint | number;
  payload?: Uint8Array;
  last?: boolean;
  ddp?: number;
  rdmap?: number;
}): Buffer {
  const { op, stag, to, payload = Buffer.alloc(0), last = true } = options;
  const ddp = options.ddp ?? TAGGED | (last ? LAST : 0) | VERSION;
  const rdmap = options.rdmap ?? RDMAP_VERSION | op;
  return Buffer.concat([pack([ddp, 1], [rdmap, 1], [stag, 4], [to, 8]), payload]);
}

/** The ULPDU of one untagged segment. */
export function untagged(options: {
  op: number;
  queue: number;
  msn: number;
  payload?: Uint8Array;
  mo?: number;
  last?: boolean;
  ddp?: number;
  rdmap?: number;
}): Buffer {
  const { op, queue, msn, payload = Buffer.alloc(0), mo = 0, last = true } = options;
  const ddp = options.ddp ?? (last ? LAST : 0) | VERSION;
  const rdmap = options.rdmap ?? RDMAP_VERSION | op;
  const header = pack([ddp, 1], [rdmap, 1], [0, 4], [queue, 4], [msn, 4], [mo, 4]);
  return Buffer.concat([header, payload]);
}

export interface Read {
  readonly sinkStag: number;
  readonly sinkTo: bigint | number;
  readonly size: number;
  readonly stag: number;
  readonly to: bigint | number;
}

/** The ULPDU of a Read Request, 46 bytes. */
export function readRequest(msn: number, read: Read): Buffer {
  const { sinkStag, sinkTo, size, stag, to } = read;
  const payload = pack([sinkStag, 4], [sinkTo, 8], [size, 4], [stag, 4], [to, 8]);
  return untagged({ op: OP.readRequest, queue: QUEUE.request, msn, payload });
}

export interface Atomic {
  readonly operation: number;
  readonly id: number;
  readonly stag: number;
  readonly to: bigint | number;
  /** To add, or to swap in. */
  readonly operand: bigint;
  readonly mask: bigint;
  readonly compare?: bigint;
  readonly compareMask?: bigint;
}

/** The ULPDU of an Atomic Request, 70 bytes. */
export function atomicRequest(msn: number, atomic: Atomic): Buffer {
  const { operation, id, stag, to, operand, mask, compare = 0n, compareMask = 0n } = atomic;
  const head = pack([operation, 4], [id, 4], [stag, 4], [to, 8]);
  const tail = pack([operand, 8], [mask, 8], [compare, 8], [compareMask, 8]);
  const payload = Buffer.concat([head, tail]);
  return untagged({ op: OP.atomicRequest, queue: QUEUE.request, msn, payload });
}

/** One received FPDU, taken apart. Fields of the other kind of header are 0. */
export interface Fpdu {
  readonly tagged: boolean;
  readonly last: boolean;
  readonly op: number;
  readonly stag: number;
  readonly to: bigint;
  readonly queue: number;
  readonly msn: number;
  readonly mo: number;
  readonly payload: Buffer;
  /** The whole frame as it came. */
  readonly bytes: Buffer;
}

/** Length of the frame that begins `bytes`, or undefined while its length is not known. */
export function frameLength(bytes: Buffer): number | undefined {
  if (bytes.length < 2) return undefined;
  const unpadded = 2 + bytes.readUInt16BE(0);
  return unpadded + ((4 - (unpadded % 4)) % 4) + CRC_BYTES;
}

/** Takes a whole frame apart; throws where it breaks the RFCs' layout or its sum is wrong. */
export function parse(bytes: Buffer, crc: boolean): Fpdu {
  const length = bytes.readUInt16BE(0);
  const end = bytes.length - CRC_BYTES;
  if (crc && bytes.readUInt32LE(end) !== crc32c(bytes.subarray(0, end))) {
    throw new Error('wrong CRC');
  }
  if (bytes.subarray(2 + length, end).some((byte) => byte !== 0)) throw new Error('pad not zero');
  const ddp = bytes.readUInt8(2);
  const rdmap = bytes.readUInt8(3);
  if ((ddp & 0x3f) !== VERSION) throw new Error(`DDP control ${ddp.toString(16)}`);
  if ((rdmap & 0xf0) !== RDMAP_VERSION) throw new Error(`RDMAP control ${rdmap.toString(16)}`);
  const isTagged = (ddp & TAGGED) !== 0;
  const header = isTagged ? 16 : 20;
  if (2 + length < header) throw new Error(`ULPDU of ${length} bytes`);
  return {
    tagged: isTagged,
    last: (ddp & LAST) !== 0,
    op: rdmap & 0x0f,
    stag: bytes.readUInt32BE(4),
    to: isTagged ? bytes.readBigUInt64BE(8) : 0n,
    queue: isTagged ? 0 : bytes.readUInt32BE(8),
    msn: isTagged ? 0 : bytes.readUInt32BE(12),
    mo: isTagged ? 0 : bytes.readUInt32BE(16),
    payload: bytes.subarray(header, 2 + length),
    bytes,
  };
}
