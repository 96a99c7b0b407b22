/** `farpage demo`: the main job on a real file, from serving it to comparing it afterwards. */
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { connect } from '../../client/client.js';
import type { ExternalRegion } from '../../client/external-region.js';
import { FarpageError } from '../../errors.js';
import { formatPages, formatSize, PAGE_BYTES } from '../../units.js';
import { MappedInput } from '../mapped-input.js';
import type { Shell } from '../options.js';
import { legendOf, pictureOf } from '../page-picture.js';
import { Serving } from '../serving.js';

const READS = 24;
const READ_BYTES_MAX = 64 * 1024;
const WRITES = 5;
const PICTURE_CELLS = 76;
const REGION = 'demo';

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

interface Figures {
  readonly file: string;
  readonly fileBytes: number;
  readonly firstByteMs: number;
  readonly readBytes: number;
  readonly initialisedBytes: number;
  readonly writtenBytes: number;
  readonly flushedPages: number;
  readonly flushedBytes: number;
  readonly syncMs: number;
  readonly map: string;
}

/** Places spread over the file, none of them on a page's edge. */
function placesOf(count: number, size: number): number[] {
  const step = Math.floor(size / (count + 1));
  return Array.from({ length: count }, (_, index) => (index + 1) * step + 1 + index * 7);
}

function check(what: string, left: Uint8Array, right: Uint8Array): void {
  if (Buffer.compare(left, right) === 0) return;
  throw new FarpageError('ERR_INTERNAL', `${what} differs from the file`);
}

/** Reads scattered ranges and holds each of them against the file. */
async function readScattered(region: ExternalRegion, original: MappedInput): Promise<number> {
  const reads = placesOf(READS, region.size).map(async (offset, index) => {
    const length = Math.min(1 + ((index * 9973) % READ_BYTES_MAX), region.size - offset);
    const bytes = await region.read(offset, length);
    check(`the range ${offset} + ${length}`, bytes, await original.read(offset, length));
    return length;
  });
  return (await Promise.all(reads)).reduce((sum, length) => sum + length, 0);
}

/** Writes a few places that nobody has read. */
async function writeSome(region: ExternalRegion): Promise<Piece[]> {
  const pieces = placesOf(WRITES, region.size).map((offset, index) => {
    return { offset: offset + 11 * PAGE_BYTES, bytes: randomBytes(100 + index * PAGE_BYTES) };
  });
  await Promise.all(pieces.map(({ offset, bytes }) => region.write(offset, bytes)));
  return pieces;
}

/** Compares the served copy, through a mapping of its own, with the original and the writes. */
async function compareFiles(paths: { copy: string; original: string }, pieces: readonly Piece[]) {
  await using copy = await MappedInput.open(paths.copy);
  await using original = await MappedInput.open(paths.original);
  const window = 1024 * 1024;
  for (let offset = 0; offset < copy.size; offset += window) {
    const length = Math.min(window, copy.size - offset);
    const expected = Buffer.from(await original.read(offset, length));
    for (const piece of pieces) {
      const end = piece.offset + piece.bytes.byteLength;
      if (piece.offset >= offset + length || end <= offset) continue;
      const from = Math.max(offset - piece.offset, 0);
      expected.set(
        piece.bytes.subarray(from, offset + length - piece.offset),
        Math.max(piece.offset - offset, 0),
      );
    }
    check(`the file at ${offset}`, await copy.read(offset, length), expected);
  }
  return copy.isMapped;
}

async function runMainJob(folder: string, shell: Shell, tell: (text: string) => void) {
  const original = process.execPath;
  const copy = join(folder, 'file');
  copyFileSync(original, copy);
  const began = performance.now();
  const doors = ['--socket', join(folder, 'socket'), '--state', join(folder, 'state')];
  await using serving = await Serving.start([...doors, `${REGION}=${copy}`]);
  await using client = await connect(serving.url, { signal: shell.signal });
  const region = await client.attach(REGION);
  await region.read(0, 1);
  const firstByteMs = performance.now() - began;
  tell(`serving a copy of ${original}, ${formatSize(region.size)}, from another process`);
  tell(`first byte ${firstByteMs.toFixed(0)} ms after the start of that process`);
  await using file = await MappedInput.open(original);
  const readBytes = await readScattered(region, file);
  const { fills, pages } = await region.stat();
  tell(`read ${READS} ranges, ${formatSize(readBytes)}: all as in the file`);
  tell(`initialised ${formatSize(fills.bytes)}, ${pages.present} of ${pages.total} pages`);
  const pieces = await writeSome(region);
  const writtenBytes = pieces.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  const receipt = await region.sync();
  const flushed = `${formatPages(receipt.pagesWritten, receipt.bytesWritten)}`;
  tell(`wrote ${WRITES} places, ${formatSize(writtenBytes)}; sync flushed ${flushed}`);
  // Two more writes that stay dirty, so that the map shows all there is.
  const late = { offset: region.size - 3 * PAGE_BYTES, bytes: randomBytes(PAGE_BYTES) };
  await region.write(late.offset, late.bytes);
  const { cells } = await region.pageMap({ cells: PICTURE_CELLS });
  const map = pictureOf(cells);
  tell(`\n[${map}]\n ${legendOf(map)}\n`);
  const code = await serving.end();
  if (code !== 0) throw new FarpageError('ERR_INTERNAL', `the appliance ended with ${code}`);
  const mapped = await compareFiles({ copy, original }, [...pieces, late]);
  tell(`the file, compared ${mapped ? 'through a mapping of its own' : 'by reads'}: as written`);
  return {
    file: original,
    fileBytes: region.size,
    firstByteMs,
    readBytes,
    initialisedBytes: fills.bytes,
    writtenBytes,
    flushedPages: receipt.pagesWritten,
    flushedBytes: receipt.bytesWritten,
    syncMs: receipt.elapsedMs,
    map,
  } satisfies Figures;
}

export function demoCommand(shell: Shell): Command {
  return new Command('demo')
    .description("serve a copy of Node's own executable, use it, and compare it afterwards")
    .option('--json', 'print one JSON object')
    .action(async (options: { json?: true }) => {
      const folder = mkdtempSync(join(tmpdir(), 'farpage-demo-'));
      const tell = options.json ? () => {} : (text: string) => shell.out.line(text);
      try {
        const figures = await runMainJob(folder, shell, tell);
        if (options.json) shell.out.object(figures);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
}
