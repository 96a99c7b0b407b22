/** `farpage export` as an RDMA program meets it, which knows nothing of Farpage. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ServeProcess } from '../helpers/cli.js';
import { OP, tagged } from '../helpers/wire/fpdu.js';
import { parseRpma, SIW_REQUEST } from '../helpers/wire/mpa.js';
import { WirePeer } from '../helpers/wire/peer.js';
import { terminateCode } from '../helpers/wire/terminate.js';

interface Exported {
  readonly region: string;
  readonly host: string;
  readonly port: number;
  readonly access: string;
}

it('serves one region to any RDMA program, as read-only or read-write as it says', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'farpage-wire-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'data.bin');
  const model = randomBytes(1_000_000);
  writeFileSync(path, model);
  const serve = await ServeProcess.start(folder, [path]);
  const words = ['export', 'data.bin', '--port', '0', '--access'];
  const readOnly = await serve.json<Exported>([...words, 'read-only']);
  expect(readOnly).toMatchObject({ region: 'data.bin', host: '127.0.0.1', access: 'read-only' });
  const readWrite = await serve.json<Exported>([...words, 'read-write']);

  const { peer: reading, reply } = await WirePeer.connect(readOnly.port, SIW_REQUEST);
  using reader = reading;
  const shown = parseRpma(reply.privateData);
  expect([shown.size, shown.usage]).toEqual([1_000_000n, 3]);
  // The region ends with the file, in the middle of a page.
  const tail = { stag: shown.rkey, to: shown.address + 900_000n, size: 100_000 };
  expect((await reader.read(tail)).equals(model.subarray(900_000))).toBe(true);

  const { peer: writing, reply: writable } = await WirePeer.connect(readWrite.port, SIW_REQUEST);
  using writer = writing;
  const { rkey } = parseRpma(writable.privateData);
  const payload = randomBytes(10_000);
  writer.write({ stag: rkey, to: 990_000, payload });
  expect(await writer.read({ stag: rkey, to: 999_999, size: 1 })).toEqual(payload.subarray(9_999));
  expect(await reader.read({ ...tail, to: 990_000, size: 10_000 })).toEqual(payload);
  expect(readFileSync(path).equals(model)).toBe(true);
  const receipt = await serve.json(['sync', 'data.bin']);
  expect(receipt).toMatchObject({ pagesWritten: 4, durable: true });
  payload.copy(model, 990_000);
  expect(readFileSync(path).equals(model)).toBe(true);

  reader.post(tagged({ op: OP.write, stag: shown.rkey, to: 0, payload: Buffer.alloc(1) }));
  expect(terminateCode(await reader.terminate())).toBe('0/1/02');

  await serve.json(['export', 'data.bin', '--port', String(readWrite.port), '--stop']);
  await writer.end();
  await expect(WirePeer.open(readWrite.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  const { peer: again } = await WirePeer.connect(readOnly.port, SIW_REQUEST);
  using last = again;
  expect((await last.read({ ...tail, to: 0, size: 9 })).equals(model.subarray(0, 9))).toBe(true);
});
