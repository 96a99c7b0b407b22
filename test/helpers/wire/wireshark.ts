/** Runs tshark over a capture file and reads what it makes of it. */
import { execFileSync, spawnSync } from 'node:child_process';
import type { Recorded } from '../pcap.js';
import { frameLength } from './fpdu.js';
import { mpaReplyLength } from './mpa.js';

/** One frame of a capture as Wireshark decodes it. */
export interface Decoded {
  readonly number: number;
  /** "tcp", "iwarp_mpa", "iwarp_ddp_rdmap" and so on, from the outermost in. */
  readonly protocols: readonly string[];
  /** Column "Info". */
  readonly info: string;
  /** Everything it complains about, of whatever severity above a remark. */
  readonly complaints: readonly string[];
  /** All values of the fields that were asked for, by name. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
}

const SEPARATOR = '|';
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;

/** Severity "warning" of Wireshark's expert information; below it are chats and notes. */
const WARNING = 6_291_456;

/**
 * The same conversation with one part for every MPA frame and FPDU, each when its last byte was
 * seen: the segments of a TCP that knows of MPA (RFC 5044 section 5.1). Wireshark 4.0 loses its way
 * where a segment ends with the first 1 to 7 bytes of an FPDU. Throws when bytes are left over.
 */
export function alignFrames(recorded: readonly Recorded[]): Recorded[] {
  const aligned: Recorded[] = [];
  const ways = new Map([true, false].map((way) => [way, { left: Buffer.alloc(0), shaken: false }]));
  for (const { fromClient, bytes, timeMs } of recorded) {
    const way = ways.get(fromClient) as { left: Buffer; shaken: boolean };
    way.left = Buffer.concat([way.left, bytes]);
    for (;;) {
      // Requests and replies announce their length at the same place.
      const length = (way.shaken ? frameLength : mpaReplyLength)(way.left) ?? Infinity;
      if (way.left.length < length) break;
      aligned.push({ fromClient, bytes: way.left.subarray(0, length), timeMs });
      way.left = way.left.subarray(length);
      way.shaken = true;
    }
  }
  for (const { left } of ways.values()) {
    if (left.length > 0) throw new Error(`half a frame: ${left.toString('hex', 0, 64)}`);
  }
  return aligned;
}

/** Its version, or undefined where it is not installed. */
export function tsharkVersion(): string | undefined {
  const { status, stdout } = spawnSync('tshark', ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n', 1)[0] : undefined;
}

/** What it makes of the sum of every FPDU, in order: "Good CRC32", "Bad CRC32, should be ...". */
export function decodeSums(path: string): string[] {
  const output = execFileSync('tshark', ['-r', path, '-n', '-O', 'iwarp_mpa'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return [...output.matchAll(/CRC check: 0x[0-9a-f]+ \((.*)\)/g)].map((hit) => hit[1] ?? '');
}

/** Decodes a capture file with Wireshark's defaults. */
export function decode(path: string, names: readonly string[] = []): Decoded[] {
  const columns = ['frame.number', 'frame.protocols', '_ws.col.Info'];
  const expert = ['_ws.expert.severity', '_ws.expert.message'];
  const asked = [...columns, ...expert, ...names].flatMap((name) => ['-e', name]);
  const format = ['-T', 'fields', '-E', 'separator=/t', '-E', `aggregator=${SEPARATOR}`];
  const output = execFileSync('tshark', ['-r', path, '-n', ...format, ...asked], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  const many = (text: string | undefined) => (text ? text.split(SEPARATOR) : []);
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [number, protocols = '', info = '', severities, messages, ...values] = line.split('\t');
      const told = many(messages);
      return {
        number: Number(number),
        protocols: protocols.split(':'),
        info,
        complaints: many(severities).flatMap((severity, index) =>
          Number(severity) >= WARNING ? [told[index] ?? 'unknown'] : [],
        ),
        fields: Object.fromEntries(names.map((name, index) => [name, many(values[index])])),
      };
    });
}
