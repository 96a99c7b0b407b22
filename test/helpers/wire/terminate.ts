/** Terminate messages: RFC 5040 section 4.8. */
import { type Fpdu, OP, QUEUE } from './fpdu.js';

export interface Terminate {
  readonly layer: number;
  readonly type: number;
  readonly code: number;
  /** Length of the DDP segment that was at fault, and its header, when they are told. */
  readonly segmentBytes: number | undefined;
  readonly ddp: Buffer | undefined;
  /** The 28 bytes of the Read Request's header. */
  readonly read: Buffer | undefined;
}

const HAS_LENGTH = 0x80;
const HAS_DDP = 0x40;
const HAS_READ = 0x20;

/** Takes a Terminate apart; throws when the FPDU is none or breaks the layout. */
export function parseTerminate(fpdu: Fpdu): Terminate {
  const { op, queue, msn, mo, last, payload } = fpdu;
  if (op !== OP.terminate) throw new Error(`opcode ${op} is no Terminate`);
  if (queue !== QUEUE.terminate || msn !== 1 || mo !== 0 || !last) throw new Error('its header');
  const present = payload.readUInt8(2);
  if ((present & 0x1f) !== 0 || payload.readUInt8(3) !== 0) throw new Error('reserved bits');
  let at = 4;
  const take = (bytes: number): Buffer => {
    if (at + bytes > payload.length) throw new Error('shorter than it announces');
    at += bytes;
    return payload.subarray(at - bytes, at);
  };
  const segmentBytes = (present & HAS_LENGTH) !== 0 ? take(2).readUInt16BE(0) : undefined;
  let ddp: Buffer | undefined;
  if ((present & HAS_DDP) !== 0) {
    const isTagged = (payload.readUInt8(at) & 0x80) !== 0;
    ddp = take(isTagged ? 14 : 18);
  }
  const read = (present & HAS_READ) !== 0 ? take(28) : undefined;
  if (at !== payload.length) throw new Error('longer than it announces');
  const first = payload.readUInt8(0);
  return {
    layer: first >> 4,
    type: first & 0x0f,
    code: payload.readUInt8(1),
    segmentBytes,
    ddp,
    read,
  };
}

/** Layer, type and code as iwarp.md and the RFCs' tables write them. */
export function terminateCode({ layer, type, code }: Terminate): string {
  return `${layer}/${type}/${code.toString(16).padStart(2, '0')}`;
}
