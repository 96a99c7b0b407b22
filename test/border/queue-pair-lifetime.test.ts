/** Queue pairs and the life of their process or worker. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { SilentResponder } from '../helpers/silent-responder.js';

const BUILT = fileURLToPath(new URL('../../dist/fabric/queue-pair.js', import.meta.url));
const PROCESS_TIMEOUT_MS = 10_000;

/** A program that connects to `port`; `rest` goes on with `queuePair`. */
function program(port: number, rest: string): string {
  return `import(${JSON.stringify(BUILT)}).then(async ({ QueuePair }) => {
    const queuePair = await QueuePair.connect({ host: '127.0.0.1', port: ${port} });
    ${rest}
  });`;
}

async function run(port: number, rest: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--expose-gc', '-e', program(port, rest)],
    { timeout: PROCESS_TIMEOUT_MS },
  );
  return stdout.trim();
}

const READ = '{ stag: 1, offset: 0, length: 8, timeoutMs: 60 }';

describe('queue pair lifetime', () => {
  it('does not keep an idle process alive, open or not', async () => {
    await using responder = await SilentResponder.listen();
    expect(await run(responder.port, `console.log(queuePair.depth);`)).toBe('128');
  });

  it('keeps the process alive until what is in flight has ended', async () => {
    await using responder = await SilentResponder.listen();
    const rest = `queuePair.read(${READ}).catch((error) => {
      console.log(error.code);
      queuePair.close();
    });`;
    expect(await run(responder.port, rest)).toBe('ERR_TIMEOUT');
  });

  it('ends what comes after its connection was given up as the connection did', async () => {
    await using responder = await SilentResponder.listen();
    const rest = `queuePair.abandon();
    const late = [queuePair.read(${READ}), queuePair.fence()];
    console.log((await Promise.allSettled(late)).map((one) => one.reason.code).join());
    queuePair.close();`;
    expect(await run(responder.port, rest)).toBe('ERR_CONNECTION,ERR_CONNECTION');
  });

  it('survives the collection of everything around a READ in flight', async () => {
    await using responder = await SilentResponder.listen();
    const rest = `const read = (length) => queuePair.readInto(
      { stag: 1, offset: 0, memory: new Uint8Array(length), timeoutMs: 60 });
    const reads = Promise.allSettled([read(100_000), read(100)]);
    for (let i = 0; i < 5; i++) { gc(); await new Promise(setImmediate); }
    console.log((await reads).map((one) => one.reason.code).join());
    queuePair.close(); gc();`;
    expect(await run(responder.port, rest)).toBe('ERR_TIMEOUT,ERR_TIMEOUT');
  });

  it('ends with its worker, also in the middle of an operation', async () => {
    await using responder = await SilentResponder.listen();
    const rest = `queuePair.readInto({ stag: 1, offset: 0, memory: new Uint8Array(100_000) });
      queuePair.write({ stag: 1, offset: 0, bytes: new Uint8Array(8) });
      setTimeout(() => require('node:worker_threads').parentPort.postMessage('posted'), 5);`;
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(program(responder.port, rest), { eval: true });
      expect((await once(worker, 'message'))[0]).toBe('posted');
      expect(await worker.terminate()).toBe(1);
    }
    expect(responder.sockets.length).toBe(3);
  });
});
