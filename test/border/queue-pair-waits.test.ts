/** Every wait of a queue pair ends: by deadline, by signal, by close, with its worker. */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { QueuePair, type QueuePairOptions } from '../../src/fabric/queue-pair.js';
import { FabricFixture } from '../helpers/fabric-fixture.js';
import { SilentResponder } from '../helpers/silent-responder.js';

const PLACE = { stag: 1, offset: 0 };
const BYTES = new Uint8Array(8);

async function silent(): Promise<{ responder: SilentResponder; queuePair: QueuePair }> {
  const responder = await SilentResponder.listen();
  const { port } = responder;
  const queuePair = await QueuePair.connect({ host: '127.0.0.1', port, timeoutMs: 0, depth: 8 });
  return { responder, queuePair };
}

describe('queue pair waits', () => {
  it('ends by the deadline of each operation', async () => {
    const { responder, queuePair } = await silent();
    const start = performance.now();
    const results = await Promise.allSettled([
      queuePair.read({ ...PLACE, length: 8, timeoutMs: 30 }),
      queuePair.write({ ...PLACE, bytes: BYTES, timeoutMs: 60 }),
      queuePair.fetchAdd({ ...PLACE, addend: 1n, timeoutMs: 90 }),
    ]);
    expect(performance.now() - start).toBeGreaterThan(80);
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'ERR_TIMEOUT' } });
    expect(() => queuePair.readSync({ ...PLACE, length: 8, timeoutMs: 20 })).toThrow(
      expect.objectContaining({ code: 'ERR_TIMEOUT' }),
    );
    queuePair.close();
    await responder[Symbol.asyncDispose]();
  });

  it('ends by its signal, before and during', async () => {
    const { responder, queuePair } = await silent();
    const aborted = AbortSignal.abort(new Error('before'));
    await expect(queuePair.read({ ...PLACE, length: 8, signal: aborted })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      cause: { message: 'before' },
    });
    const controller = new AbortController();
    const memory = new Uint8Array(100_000);
    const pending = queuePair.readInto({ ...PLACE, memory, signal: controller.signal });
    await sleep(5);
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    // Its memory is still a target: the slot stays taken until the completion.
    expect(queuePair.inFlight).toBe(1);
    queuePair.close();
    await responder[Symbol.asyncDispose]();
  });

  it('ends by close, and refuses what comes later', async () => {
    const { responder, queuePair } = await silent();
    const pending = [
      queuePair.read({ ...PLACE, length: 8 }),
      queuePair.readInto({ ...PLACE, memory: new Uint8Array(100_000) }),
      queuePair.write({ ...PLACE, bytes: BYTES }),
      queuePair.compareSwap({ ...PLACE, expected: 0n, desired: 1n }),
    ];
    const settled = Promise.allSettled(pending);
    await sleep(5);
    queuePair.close();
    queuePair.close();
    const codes = (await settled).map((one) => (one as PromiseRejectedResult).reason.code);
    expect(codes).toEqual([
      'ERR_CLOSED',
      'ERR_CLOSED',
      'ERR_OUTCOME_UNKNOWN',
      'ERR_OUTCOME_UNKNOWN',
    ]);
    await expect(queuePair.fence()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(() => queuePair.writeSync({ ...PLACE, bytes: BYTES })).toThrow(
      expect.objectContaining({ code: 'ERR_CLOSED' }),
    );
    await responder[Symbol.asyncDispose]();
  });

  it('ends when the peer goes: READs repeatably, WRITEs and atomics unknown', async () => {
    const { responder, queuePair } = await silent();
    const settled = Promise.allSettled([
      queuePair.read({ ...PLACE, length: 8 }),
      queuePair.write({ ...PLACE, bytes: BYTES }),
      queuePair.fetchAdd({ ...PLACE, addend: 1n }),
      queuePair.fence(),
    ]);
    await sleep(5);
    for (const socket of responder.sockets) socket.end();
    const codes = (await settled).map((one) => (one as PromiseRejectedResult).reason.code);
    expect(codes).toEqual([
      'ERR_CONNECTION',
      'ERR_OUTCOME_UNKNOWN',
      'ERR_OUTCOME_UNKNOWN',
      'ERR_OUTCOME_UNKNOWN',
    ]);
    expect(queuePair.inFlight).toBe(0);
    queuePair.close();
    await responder[Symbol.asyncDispose]();
  });

  it('ends when the peer answers with garbage', async () => {
    const { responder, queuePair } = await silent();
    const pending = queuePair.read({ ...PLACE, length: 8 });
    const rejected = expect(pending).rejects.toMatchObject({ code: 'ERR_PROTOCOL' });
    await sleep(5);
    for (const socket of responder.sockets) socket.write(Buffer.alloc(100, 0x55));
    await rejected;
    queuePair.close();
    await responder[Symbol.asyncDispose]();
  });

  it('lets the event loop go round while it reads without pause', async () => {
    await using fabric = new FabricFixture({ lengthBytes: 1 << 20 });
    const queuePair = await fabric.connect();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    // Counted in reads, not in milliseconds: a busy machine makes both slow alike.
    for (let reads = 0; reads < 50_000 && ticks <= 10; reads++) {
      await queuePair.read({ stag: fabric.stag, offset: 0, length: 64 });
    }
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
  });

  it('keeps memory in flight from being transferred', async () => {
    const { responder, queuePair } = await silent();
    const memory = new Uint8Array(100_000);
    const pending = queuePair.readInto({ ...PLACE, memory });
    pending.catch(() => undefined);
    try {
      structuredClone(memory, { transfer: [memory.buffer] });
    } catch (error) {
      // Node 20 clones instead, later ones throw this; neither detaches.
      expect(error).toMatchObject({ name: 'DataCloneError' });
    }
    expect(memory.byteLength).toBe(100_000);
    const shrinking = new Uint8Array(
      Reflect.construct(ArrayBuffer, [100_000, { maxByteLength: 200_000 }]) as ArrayBuffer,
    );
    await expect(queuePair.readInto({ ...PLACE, memory: shrinking })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
    });
    queuePair.close();
    await responder[Symbol.asyncDispose]();
  });
});

describe('memory that its owner takes away', () => {
  it('fails alone what was detached before it was posted, or before it was answered', async () => {
    await using fabric = new FabricFixture({ lengthBytes: 1 << 20 });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const reads = Array.from({ length: 1024 }, () =>
      queuePair.read({ stag, offset: 0, length: 8 }),
    );
    const waiting = new Uint8Array(100_000);
    const written = queuePair.write({ stag, offset: 0, bytes: waiting });
    structuredClone(waiting, { transfer: [waiting.buffer] });
    expect(waiting.byteLength).toBe(0);
    await expect(written).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    await Promise.all(reads);
    const small = new Uint8Array(64);
    const read = queuePair.readInto({ stag, offset: 0, memory: small });
    structuredClone(small, { transfer: [small.buffer] });
    await expect(read).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    expect((await queuePair.read({ stag, offset: 0, length: 8 })).length).toBe(8);
  });

  it('reads into shared memory', async () => {
    await using fabric = new FabricFixture({ lengthBytes: 1 << 20 });
    const queuePair = await fabric.connect();
    const { stag } = fabric;
    const bytes = new Uint8Array(100_000).fill(7);
    await queuePair.write({ stag, offset: 0, bytes });
    const memory = new Uint8Array(new SharedArrayBuffer(100_000));
    await queuePair.readInto({ stag, offset: 0, memory });
    expect(Buffer.compare(memory, bytes)).toBe(0);
  });
});

describe('connecting', () => {
  it('refuses addresses where nobody is', async () => {
    const cases = [
      [{ path: '/nonexistent/socket' }, 'ERR_CONNECTION'],
      [{ path: `/tmp/${'x'.repeat(120)}` }, 'ERR_SOCKET_PATH'],
      [{ host: '127.0.0.1', port: 1 }, 'ERR_CONNECTION'],
      [{ host: '127.0.0.1', port: 0 }, 'ERR_ARGUMENT'],
      [{}, 'ERR_ARGUMENT'],
      [{ path: '/x', depth: 129 }, 'ERR_ARGUMENT'],
      [{ path: '/x', ticket: new Uint8Array(15) }, 'ERR_ARGUMENT'],
    ] as const;
    for (const [options, code] of cases) {
      await expect(QueuePair.connect(options)).rejects.toMatchObject({ code });
    }
  });

  it('gives up on a peer that does not answer, or that is no responder', async () => {
    await using mute = await SilentResponder.listen(false);
    const to = { host: '127.0.0.1', port: mute.port, connectTimeoutMs: 50 };
    await expect(QueuePair.connect(to)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    const web = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => {
      web.listen(0, '127.0.0.1', resolve);
    });
    const { port } = web.address() as { port: number };
    await expect(QueuePair.connect({ host: '127.0.0.1', port })).rejects.toMatchObject({
      code: 'ERR_PROTOCOL',
      message: expect.stringContaining(`: 127.0.0.1:${port}: `),
    });
    web.close();
  });

  it('is refused without a ticket, with a code', async () => {
    await using fabric = new FabricFixture({ lengthBytes: 1 << 20 });
    const options = { host: '127.0.0.1', port: fabric.port };
    await expect(QueuePair.connect(options)).rejects.toMatchObject({ code: 'ERR_TICKET' });
  });

  it('needs one address, and a ticket of 16 bytes', async () => {
    const nowhere: QueuePairOptions[] = [
      {},
      { host: '127.0.0.1' },
      { path: '/nowhere', host: '127.0.0.1', port: 1 },
    ];
    for (const options of nowhere) {
      await expect(QueuePair.connect(options)).rejects.toThrow(/needs path, or host and port$/);
    }
    const short = QueuePair.connect({ path: '/nowhere', ticket: Buffer.alloc(15) });
    await expect(short).rejects.toThrow(/ticket: a Uint8Array of 16 bytes$/);
  });
});
