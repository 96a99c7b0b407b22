import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectSocket, createServer } from 'node:net';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/http-client.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { codeOf } from '../helpers/codes.js';
import { patternFile, scratch } from '../helpers/scratch.js';

interface Answer {
  readonly status: number;
  readonly allow: string | undefined;
  readonly text: string;
}

function ask(
  socketPath: string,
  options: { method?: string; path: string; body?: string; headers?: Record<string, string> },
): Promise<Answer> {
  const { method = 'GET', path, body, headers = {} } = options;
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers }, (message) => {
      let text = '';
      message.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      const { statusCode: status = 0, headers: told } = message;
      message.once('end', () => resolve({ status, allow: told.allow, text }));
      message.once('error', reject);
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

describe('the control server', () => {
  it('serves a valid OpenAPI document, metrics and health', async () => {
    const { appliance, folder } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8192 });
    const { socket } = appliance.doors;
    const document = JSON.parse((await ask(socket, { path: '/openapi.json' })).text);
    expect((await new Validator().validate(document)).valid).toBe(true);
    const metrics = await ask(socket, { path: '/metrics' });
    expect(metrics.text).toContain('farpage_region_pages{region="r",state="total"} 2');
    expect(metrics.text).toContain('\nfarpage_memory_limit_bytes 67108864\n');
    const health = JSON.parse((await ask(socket, { path: '/healthz' })).text);
    expect(health).toMatchObject({ status: 'ok', pid: process.pid });
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'state')).mode & 0o777).toBe(0o700);
  });

  it.each([
    [{ path: '/nowhere' }, 404, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'PUT' }, 405, 'ERR_ARGUMENT'],
    [{ path: '//' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'POST', body: '[1]' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions/none' }, 404, 'ERR_NO_SUCH_REGION'],
    [{ path: '/v1/regions/a%20b' }, 400, 'ERR_NAME'],
    [{ path: '/v1/regions/%zz' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'POST', body: '{' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'POST', body: '[]' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'POST', body: '{"nam":1}' }, 400, 'ERR_ARGUMENT'],
    [{ path: '/v1/regions', method: 'POST', body: ' '.repeat(70_000) }, 400, 'ERR_ARGUMENT'],
    [{ path: `/v1/sessions/${'0'.repeat(32)}`, method: 'DELETE' }, 404, 'ERR_SESSION_ENDED'],
    [{ path: `/v1/sessions/${'0'.repeat(32)}/hold` }, 404, 'ERR_SESSION_ENDED'],
    [{ path: '/v1/sessions/short/hold' }, 400, 'ERR_ARGUMENT'],
  ])('answers %j with %i %s', async (asked, status, code) => {
    const { appliance } = await serveAppliance();
    const answer = await ask(appliance.doors.socket, asked);
    expect([answer.status, JSON.parse(answer.text).code]).toEqual([status, code]);
  });

  it('answers HEAD without a body, and tells which methods a path has', async () => {
    const { socket } = (await serveAppliance()).appliance.doors;
    const head = await ask(socket, { path: '/healthz', method: 'HEAD' });
    expect(head).toEqual({ status: 200, allow: undefined, text: '' });
    const put = await ask(socket, { path: '/v1/regions', method: 'PUT' });
    expect([put.status, put.allow]).toEqual([405, 'GET, POST']);
    expect((await ask(socket, { path: '/nowhere' })).allow).toBeUndefined();
  });

  it('tells the name of no unnamed region in its metrics, which count them together', async () => {
    const { appliance, url } = await serveAppliance();
    const client = await connectClient(url);
    const regions = [await client.allocate({ size: 8192 }), await client.allocate({ size: 8192 })];
    const { text } = await ask(appliance.doors.socket, { path: '/metrics' });
    for (const { name } of regions) expect(text).not.toContain(name);
    expect(text).toContain('farpage_region_pages{region="@",state="total"} 4');
    expect(text).toContain('# TYPE farpage_operations_total counter');
    expect(text).toContain('# TYPE farpage_sessions gauge');
  });

  it('names the address that a port for others cannot be opened at', async () => {
    const { appliance } = await serveAppliance();
    await appliance.create({ name: 'r', size: 8192 });
    for (const host of ['192.0.2.1', 'nope.invalid']) {
      const opened = appliance.export('r', { host, port: 0 });
      await expect(opened).rejects.toThrow(`${host}:0: `);
    }
    expect(appliance.exports('r')).toEqual([]);
  });

  it('survives what is no HTTP at all', async () => {
    const { appliance, control } = await serveAppliance();
    const socket = connectSocket(appliance.doors.socket);
    socket.end('garbage\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve).resume());
    expect((await control.call('health', {})).status).toBe('ok');
  });
});

describe('a control socket', () => {
  it('is replaced when it is stale, refused when it is live', async () => {
    const first = await serveAppliance();
    const state = join(first.folder, 'other-state');
    const again = () => serveAppliance({ stateDirectory: state }, first.folder);
    expect(await codeOf(again)).toBe('ERR_APPLIANCE_RUNNING');
    // The same command given twice: the socket is what its user knows, not the state directory.
    expect(await codeOf(() => serveAppliance({}, first.folder))).toBe('ERR_APPLIANCE_RUNNING');
    expect((await first.control.call('health', {})).status).toBe('ok');
    const stale = join(first.folder, 'stale');
    // A socket that nobody listens on any more: its file outlives a killed process.
    const { spawnSync } = await import('node:child_process');
    const code = `require('net').createServer().listen(${JSON.stringify(stale)}, process.abort)`;
    spawnSync(process.execPath, ['-e', code]);
    expect(statSync(stale).isSocket()).toBe(true);
    const options = { socket: stale, stateDirectory: state };
    const { control } = await serveAppliance(options, first.folder);
    control.close();
    const direct = new ControlClient({ address: { path: stale } });
    expect((await direct.call('health', {})).status).toBe('ok');
    direct.close();
  });

  it('has an error of its own for a path that is too long or no socket', async () => {
    const folder = scratch();
    const long = join(folder, 'x'.repeat(108));
    expect(await codeOf(() => serveAppliance({ socket: long }, folder))).toBe('ERR_SOCKET_PATH');
    const file = join(folder, 'file');
    writeFileSync(file, 'mine');
    expect(await codeOf(() => serveAppliance({ socket: file }, folder))).toBe('ERR_SOCKET_PATH');
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it('is not taken along with a state directory that another appliance holds', async () => {
    const { folder } = await serveAppliance();
    const options = { socket: join(folder, 't'), stateDirectory: join(folder, 'state') };
    expect(await codeOf(() => serveAppliance(options, folder))).toBe('ERR_LOCKED_STATE');
  });

  it('leaves nothing held when the start fails at the last step', async () => {
    const folder = scratch();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const listen = { host: '127.0.0.1', port };
    const file = patternFile(folder, { length: 4096 });
    const options = { listen, regions: [{ file }] };
    expect(await codeOf(() => serveAppliance(options, folder))).toBe('ERR_ADDRESS_IN_USE');
    taken.close();
    const { appliance, control } = await serveAppliance({ regions: [{ file }] }, folder);
    expect((await control.call('regions', {})).regions).toHaveLength(1);
    // Nobody was there before who could have lost anything.
    expect(appliance.start.start).toBe('clean');
  });
});

describe('the control client', () => {
  it('ends at its deadline and when it is aborted', async () => {
    const silent = createServer(() => {});
    const path = join(scratch(), 'silent');
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    const control = new ControlClient({ address: { path } });
    const began = performance.now();
    expect(await codeOf(() => control.call('health', { timeoutMs: 50 }))).toBe('ERR_TIMEOUT');
    expect(performance.now() - began).toBeLessThan(2000);
    const signal = AbortSignal.timeout(20);
    expect(await codeOf(() => control.call('health', { signal }))).toBe('ERR_ABORTED');
    expect(await codeOf(() => control.call('health', { signal }))).toBe('ERR_ABORTED');
    control.close();
    silent.close();
  });

  it.each([
    ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}', 'ERR_PROTOCOL'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope', 'ERR_PROTOCOL'],
    ['HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}', 'ERR_PROTOCOL'],
    ['SSH-2.0-OpenSSH\r\n', 'ERR_CONNECTION'],
    ['', 'ERR_CONNECTION'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"status"', 'ERR_CONNECTION'],
  ])('takes "%s" for what it is', async (reply, code) => {
    const strange = createServer((socket) => {
      socket.once('data', () => socket.end(reply));
    });
    const path = join(scratch(), 'strange');
    await new Promise<void>((resolve) => strange.listen(path, resolve));
    const control = new ControlClient({ address: { path } });
    expect(await codeOf(() => control.call('health', {}))).toBe(code);
    control.close();
    strange.close();
  });
});

it('keeps the folder of an unusable state directory untouched', async () => {
  const folder = scratch();
  mkdirSync(join(folder, 'state'));
  writeFileSync(join(folder, 'state', 'catalog.json'), 'damaged');
  expect(await codeOf(() => serveAppliance({}, folder))).toBe('ERR_STATE_DAMAGED');
});
