import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { within } from '../../../src/client/limits.js';
import { ControlClient } from '../../../src/control/http-client.js';
import { codeOf } from '../../helpers/codes.js';
import { scratch } from '../../helpers/scratch.js';

const REPLY = JSON.stringify({ exports: [] });
const ANSWER = `HTTP/1.1 200 OK\r\ncontent-length: ${REPLY.length}\r\n\r\n${REPLY}`;

/** A server that does with the nth request what `script` says, and the client of it. */
async function scripted(script: readonly ((socket: Socket) => void)[]) {
  const heard: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      const [method = ''] = bytes.toString().split(' ');
      heard.push(`${method} ${[...sockets].indexOf(socket)}`);
      script[heard.length - 1]?.(socket);
    });
  });
  const path = join(scratch(), 's');
  server.listen(path);
  await once(server, 'listening');
  const client = new ControlClient({ address: { path } });
  onTestFinished(() => {
    client.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const get = () => client.call('exports', { params: { region: 'r' } });
  const post = () => client.call('flush', { params: { region: 'r' }, body: {} });
  return { client, heard, get, post };
}

const answers = (socket: Socket) => void socket.write(ANSWER);
const breaks = (socket: Socket) => void socket.destroy();
const begins = (socket: Socket) => void socket.end(ANSWER.slice(0, -1));

it('repeats a GET once, where a kept connection ends before its answer', async () => {
  const { heard, get } = await scripted([answers, breaks, answers, answers]);
  for (let n = 0; n < 3; n += 1) expect(await get()).toEqual({ exports: [] });
  // The new connection is for that one call: the next one finds none that is kept.
  expect(heard).toEqual(['GET 0', 'GET 0', 'GET 1', 'GET 2']);
});

it.each([
  ['a second time', [answers, breaks, breaks], ['GET 0', 'GET 0', 'GET 1']],
  ['on a new connection', [breaks], ['GET 0']],
] as const)('repeats no GET whose connection ends %s', async (_, script, expected) => {
  const { heard, get } = await scripted(script);
  if (script.length > 1) await get();
  expect(await codeOf(get)).toBe('ERR_CONNECTION');
  expect(heard).toEqual(expected);
});

it('repeats no GET whose answer has begun, and no other method', async () => {
  const first = await scripted([answers, begins]);
  await first.get();
  expect(await codeOf(first.get)).toBe('ERR_CONNECTION');
  expect(first.heard).toEqual(['GET 0', 'GET 0']);
  const second = await scripted([answers, breaks]);
  await second.get();
  expect(await codeOf(second.post)).toBe('ERR_CONNECTION');
  expect(second.heard).toEqual(['GET 0', 'POST 0']);
});

it.each([0, 2 ** 31, Number.POSITIVE_INFINITY])('has no deadline of %d ms', async (timeoutMs) => {
  const { client } = await scripted([(socket) => void setTimeout(() => answers(socket), 30)]);
  const limits = { params: { region: 'r' }, timeoutMs };
  expect(await within(client.call('exports', limits), { timeoutMs })).toEqual({ exports: [] });
});

it('uses no connection again that was idle for so long that it may be closed', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { heard, get } = await scripted([answers, answers, answers]);
  await get();
  vi.advanceTimersByTime(29_000);
  await get();
  vi.advanceTimersByTime(31_000);
  await get();
  expect(heard).toEqual(['GET 0', 'GET 0', 'GET 1']);
});
