/** MPA Request and Reply frames: RFC 5044 section 7.1, RFC 6581 section 6. */

const REQUEST_KEY = 'MPA ID Req Frame';
const REPLY_KEY = 'MPA ID Rep Frame';
const FRAME_BYTES = 20;

export const MPA = { markers: 0x80, crc: 0x40, rejected: 0x20, enhanced: 0x10 } as const;
/** Beside IRD: peer-to-peer and a zero-length Send as RTR; beside ORD: Write and Read as RTR. */
export const RTR = { peerToPeer: 0x8000, send: 0x4000, write: 0x8000, read: 0x4000 } as const;

export interface MpaRequest {
  /** Bits of `MPA`. */
  readonly flags: number;
  readonly revision: number;
  /** The words with IRD and ORD and their bits; only with `MPA.enhanced`. */
  readonly ird?: number;
  readonly ord?: number;
  readonly privateData?: Uint8Array;
}

/** The bytes of a request. `length` overrides the private data length that is announced. */
export function mpaRequest(request: MpaRequest, length?: number): Buffer {
  const { flags, revision, ird = 0, ord = 0, privateData = Buffer.alloc(0) } = request;
  const enhanced = Buffer.alloc((flags & MPA.enhanced) !== 0 ? 4 : 0);
  if (enhanced.length > 0) {
    enhanced.writeUInt16BE(ird, 0);
    enhanced.writeUInt16BE(ord, 2);
  }
  const head = Buffer.alloc(4);
  head.writeUInt8(flags, 0);
  head.writeUInt8(revision, 1);
  head.writeUInt16BE(length ?? enhanced.length + privateData.length, 2);
  return Buffer.concat([Buffer.from(REQUEST_KEY, 'ascii'), head, enhanced, privateData]);
}

export interface MpaReply {
  readonly flags: number;
  readonly revision: number;
  readonly rejected: boolean;
  readonly enhanced: boolean;
  readonly crc: boolean;
  /** The whole words of IRD and ORD, and the depths in them. */
  readonly irdWord: number;
  readonly ordWord: number;
  readonly ird: number;
  readonly ord: number;
  readonly privateData: Buffer;
}

/** Length of the reply that begins `bytes`, or undefined while it is not known. */
export function mpaReplyLength(bytes: Buffer): number | undefined {
  return bytes.length < FRAME_BYTES ? undefined : FRAME_BYTES + bytes.readUInt16BE(18);
}

/** Takes a reply apart; throws when it is none. */
export function parseMpaReply(bytes: Buffer): MpaReply {
  const key = bytes.toString('latin1', 0, 16);
  if (key !== REPLY_KEY) throw new Error(`not an MPA reply: ${key}`);
  const flags = bytes.readUInt8(16);
  const enhanced = (flags & MPA.enhanced) !== 0;
  const irdWord = enhanced ? bytes.readUInt16BE(20) : 0;
  const ordWord = enhanced ? bytes.readUInt16BE(22) : 0;
  return {
    flags,
    revision: bytes.readUInt8(17),
    rejected: (flags & MPA.rejected) !== 0,
    enhanced,
    crc: (flags & MPA.crc) !== 0,
    irdWord,
    ordWord,
    ird: irdWord & 0x3fff,
    ord: ordWord & 0x3fff,
    privateData: bytes.subarray(enhanced ? 24 : 20),
  };
}

/** What siw sends for rping: revision 2, S, IRD 1, ORD 1 and no private data. */
export const SIW_REQUEST: MpaRequest = { flags: MPA.enhanced, revision: 2, ird: 1, ord: 1 };

/** librpma's description of a memory region in the private data of a reply. */
export interface RpmaDescriptor {
  readonly address: bigint;
  readonly size: bigint;
  readonly rkey: number;
  readonly usage: number;
}

/** Decodes it the way librpma's examples do: two lengths in front, then the descriptor. */
export function parseRpma(privateData: Buffer): RpmaDescriptor {
  const offset = privateData.readUInt16LE(0);
  const length = privateData.readUInt8(2);
  const descriptor = privateData.subarray(4 + offset, 4 + offset + length);
  if (length !== 21 || descriptor.length !== 21) throw new Error(`a descriptor of ${length}`);
  return {
    address: descriptor.readBigUInt64LE(0),
    size: descriptor.readBigUInt64LE(8),
    rkey: descriptor.readUInt32LE(16),
    usage: descriptor.readUInt8(20),
  };
}

/** The private data of Farpage's own requests: "FPG1", version, flags, a ticket. */
export function farpagePrivateData(ticket: Uint8Array, flags = 0): Buffer {
  return Buffer.concat([Buffer.from('FPG1'), Buffer.from([1, flags, 0, 0]), ticket]);
}
