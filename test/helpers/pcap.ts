/**
 * A capture file of one TCP conversation out of the bytes that went each way, with Ethernet, IPv4
 * and TCP headers made up around them: pcap 2.4, link type Ethernet, RFC 791, RFC 9293.
 */
import { writeFileSync } from 'node:fs';

/** Bytes that went one way, in the order in which they were seen. */
export interface Recorded {
  readonly fromClient: boolean;
  readonly bytes: Uint8Array;
  /** Milliseconds since any fixed moment. */
  readonly timeMs: number;
}

const MAGIC = 0xa1b2c3d4;
const SNAP_BYTES = 262_144;
const ETHERNET = 1;
const ETHERTYPE_IPV4 = 0x0800;
const TCP_PROTOCOL = 6;
const HEADER_BYTES = 14 + 20 + 20;
const CLIENT_PORT = 40_000;
const FLAG = { fin: 0x01, syn: 0x02, push: 0x08, ack: 0x10 } as const;

/** The Internet checksum, RFC 1071. */
function checksum(...parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += 2) {
      sum += part.readUInt8(at) * 256 + (at + 1 < part.length ? part.readUInt8(at + 1) : 0);
    }
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** One of the two ends: what it has sent so far and who it is. */
interface End {
  readonly host: number;
  readonly port: number;
  sequence: number;
}

function segment(from: End, to: End, flags: number, payload: Uint8Array): Buffer {
  const out = Buffer.alloc(HEADER_BYTES + payload.length);
  out.set([2, 0, 0, 0, 0, to.host, 2, 0, 0, 0, 0, from.host]);
  out.writeUInt16BE(ETHERTYPE_IPV4, 12);
  const ip = out.subarray(14, 34);
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(40 + payload.length, 2);
  ip.writeUInt8(64, 8);
  ip.writeUInt8(TCP_PROTOCOL, 9);
  ip.set([10, 0, 0, from.host, 10, 0, 0, to.host], 12);
  ip.writeUInt16BE(checksum(ip), 10);
  const tcp = out.subarray(34);
  tcp.writeUInt16BE(from.port, 0);
  tcp.writeUInt16BE(to.port, 2);
  tcp.writeUInt32BE(from.sequence, 4);
  tcp.writeUInt32BE((flags & FLAG.ack) !== 0 ? to.sequence : 0, 8);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(flags, 13);
  tcp.writeUInt16BE(0xffff, 14);
  tcp.set(payload, 20);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(TCP_PROTOCOL, 0);
  pseudo.writeUInt16BE(tcp.length, 2);
  tcp.writeUInt16BE(checksum(ip.subarray(12), pseudo, tcp), 16);
  const advance = payload.length + ((flags & (FLAG.syn | FLAG.fin)) !== 0 ? 1 : 0);
  from.sequence = (from.sequence + advance) >>> 0;
  return out;
}

/** Writes the conversation to `path` in segments of at most `segmentBytes` of payload. */
export function writeCapture(options: {
  path: string;
  recorded: readonly Recorded[];
  serverPort: number;
  segmentBytes?: number;
}): void {
  const { path, recorded, serverPort, segmentBytes = 1448 } = options;
  const client: End = { host: 1, port: CLIENT_PORT, sequence: 1000 };
  const server: End = { host: 2, port: serverPort, sequence: 5000 };
  const head = Buffer.alloc(24);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(SNAP_BYTES, 16);
  head.writeUInt32LE(ETHERNET, 20);
  const out: Buffer[] = [head];
  let timeMs = recorded[0]?.timeMs ?? 0;
  const none = new Uint8Array();
  const put = (fromClient: boolean, flags: number, payload: Uint8Array) => {
    const [from, to] = fromClient ? [client, server] : [server, client];
    const packet = segment(from, to, flags, payload);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(timeMs / 1000), 0);
    record.writeUInt32LE(Math.floor((timeMs % 1000) * 1000), 4);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    out.push(record, packet);
  };
  put(true, FLAG.syn, none);
  put(false, FLAG.syn | FLAG.ack, none);
  put(true, FLAG.ack, none);
  for (const { fromClient, bytes, timeMs: seenMs } of recorded) {
    timeMs = seenMs;
    for (let at = 0; at < bytes.length; at += segmentBytes) {
      put(fromClient, FLAG.push | FLAG.ack, bytes.subarray(at, at + segmentBytes));
    }
  }
  put(false, FLAG.fin | FLAG.ack, none);
  put(true, FLAG.fin | FLAG.ack, none);
  put(false, FLAG.ack, none);
  writeFileSync(path, Buffer.concat(out));
}
