/** A file behind HTTP, against a server that misbehaves in every way that the RFC leaves open. */
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpFile, type WebVersion } from '../../src/appliance/http-file.js';
import { FarpageError } from '../../src/errors.js';
import { codeOf } from '../helpers/codes.js';
import { patternOf, scratch } from '../helpers/scratch.js';
import { type Answer, WebServer } from '../helpers/web-server.js';

const SIZE = 300_000;

interface Opened {
  readonly server: WebServer;
  readonly file: HttpFile;
  readonly version: WebVersion;
  read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer>;
}

async function open(
  options: { path?: string; tokenFile?: string; check?: (url: string) => void } = {},
  prepare: (server: WebServer) => void = () => {},
): Promise<Opened> {
  const server = await WebServer.start(patternOf(SIZE));
  prepare(server);
  const file = new HttpFile({ ...options, url: server.url(options.path) });
  onTestFinished(() => file.close());
  const version = await file.probe();
  const read = async (offset: number, length: number, signal = new AbortController().signal) => {
    const into = Buffer.alloc(length);
    await file.read(offset, into, { expected: version, signal });
    return into;
  };
  return { server, file, version, read };
}

/** Answers the first `times` requests with `answer`, and lets the server do the others. */
function first(
  times: number,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
) {
  let left = times;
  return ((request, response) => {
    if (left === 0) return false;
    left -= 1;
    answer(request, response);
    return true;
  }) satisfies Answer;
}

const status = (code: number) => (_: IncomingMessage, response: ServerResponse) => {
  response.writeHead(code).end();
};

describe('a file behind HTTP', () => {
  it('tells whenever bytes have come', async () => {
    const { file, version } = await open();
    let times = 0;
    const alive = () => {
      times += 1;
    };
    const { signal } = new AbortController();
    await file.read(0, Buffer.alloc(SIZE), { expected: version, signal, alive });
    expect(times).toBeGreaterThan(0);
  });

  it('is read by ranges, of the version that was met, over connections that are kept', async () => {
    const { server, version, read } = await open();
    expect(version).toEqual({ size: SIZE, etag: server.etag });
    expect((await read(4096, 1000)).equals(server.bytes.subarray(4096, 5096))).toBe(true);
    expect((await read(SIZE - 1, 1))[0]).toBe(server.bytes[SIZE - 1]);
    expect(server.ranges()).toEqual(['bytes=0-0', 'bytes=4096-5095', 'bytes=299999-299999']);
    const { headers } = server.asked[1]!;
    expect(headers['if-match']).toBe(server.etag);
    expect(headers['accept-encoding']).toBe('identity');
    expect(headers['user-agent']).toMatch(/^farpage\//);
    expect(server.connections).toBeLessThanOrEqual(2);
  });

  it.each([
    ['an entity tag that differs', (server: WebServer) => (server.etag = '"other"')],
    ['another size', (server: WebServer) => (server.bytes = patternOf(SIZE + 1))],
  ])(
    'is noticed to be another version by %s, also of a server without conditions',
    async (_, change) => {
      const { server, read } = await open();
      change(server);
      expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_CHANGED');
      server.answer = (request, response) => {
        server.send(request, response);
        return true;
      };
      expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_CHANGED');
    },
  );

  it('is told apart by Last-Modified where the entity tag is weak or missing', async () => {
    for (const etag of ['W/"1"', null]) {
      const { server, read, version } = await open({}, (fresh) => {
        fresh.etag = etag;
        fresh.lastModified = 'Tue, 15 Nov 2022 12:45:26 GMT';
      });
      expect(version.lastModified).toBe('Tue, 15 Nov 2022 12:45:26 GMT');
      expect((await read(0, 10)).equals(server.bytes.subarray(0, 10))).toBe(true);
      expect(server.asked[1]?.headers['if-unmodified-since']).toBe(version.lastModified);
      server.lastModified = 'Wed, 16 Nov 2022 12:45:26 GMT';
      expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_CHANGED');
      server.answer = (request, response) => {
        server.send(request, response);
        return true;
      };
      expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_CHANGED');
    }
  });

  it.each<[string, string, (server: WebServer) => Answer]>([
    ['416, as the file was cut', 'ERR_SOURCE_CHANGED', () => first(9, status(416))],
    ['404, as the file is gone', 'ERR_SOURCE_CHANGED', () => first(9, status(404))],
    ['401', 'ERR_FILE_ACCESS', () => first(9, status(401))],
    ['403', 'ERR_FILE_ACCESS', () => first(9, status(403))],
    ['418', 'ERR_PROTOCOL', () => first(9, status(418))],
  ])('ends with a code when the server answers %s', async (_, code, answer) => {
    const { server, read } = await open();
    server.answer = answer(server);
    expect(await codeOf(() => read(0, 10))).toBe(code);
  });

  it('is not taken where the server encodes the bytes, whose size it would not have', async () => {
    const prepare = (server: WebServer) => {
      server.extra = { 'content-encoding': 'gzip' };
    };
    expect(await codeOf(() => open({}, prepare))).toBe('ERR_UNSUPPORTED');
    await expect(open({}, prepare)).rejects.toThrow('sends gzip, not the bytes themselves');
    const plain = (server: WebServer) => {
      server.extra = { 'content-encoding': 'Identity' };
    };
    const { read } = await open({}, plain);
    expect((await read(0, 10)).equals(patternOf(SIZE).subarray(0, 10))).toBe(true);
  });

  it.each<[string, string, (server: WebServer) => void]>([
    [
      'all of it instead of a range',
      'ERR_PROTOCOL',
      (server) => {
        server.answer = (_, response) => {
          response.writeHead(200, { etag: server.etag ?? '', 'content-length': SIZE });
          response.end(server.bytes);
          return true;
        };
      },
    ],
    [
      'another range',
      'ERR_PROTOCOL',
      (server) => {
        server.extra = { 'content-range': `bytes 1-10/${SIZE}` };
      },
    ],
    [
      'a range that it does not name',
      'ERR_PROTOCOL',
      (server) => {
        server.extra = { 'content-range': `bytes 0-9/*` };
      },
    ],
    [
      'an encoded body',
      'ERR_PROTOCOL',
      (server) => {
        server.extra = { 'content-encoding': 'gzip' };
        server.answer = (request, response) => {
          server.send(request, response, gzipSync('').subarray(0, 10));
          return true;
        };
      },
    ],
    [
      'less than it says',
      'ERR_PROTOCOL',
      (server) => {
        server.answer = (request, response) => {
          server.send(request, response, server.bytes.subarray(0, 9));
          return true;
        };
      },
    ],
    [
      'more than it says',
      'ERR_PROTOCOL',
      (server) => {
        server.answer = (request, response) => {
          server.send(request, response, server.bytes.subarray(0, 11));
          return true;
        };
      },
    ],
    [
      'a body that breaks off, each time',
      'ERR_SOURCE_AWAY',
      (server) => {
        server.answer = (request, response) => {
          const { socket } = request;
          server.extra = { 'content-length': '10' };
          server.send(request, response, server.bytes.subarray(0, 4));
          setTimeout(() => socket.destroy(), 5);
          return true;
        };
      },
    ],
    [
      'no HTTP',
      'ERR_PROTOCOL',
      (server) => {
        server.answer = (_, response) => {
          response.socket?.end('220 mail.example ESMTP\r\n');
          return true;
        };
      },
    ],
  ])('takes no bytes of an answer with %s', async (_, code, misbehave) => {
    const { server, read } = await open();
    misbehave(server);
    expect(await codeOf(() => read(0, 10))).toBe(code);
    server.answer = () => false;
    server.extra = {};
    expect((await read(0, 10)).equals(server.bytes.subarray(0, 10))).toBe(true);
  });

  it('is tried again, a bounded number of times, while the server is away', async () => {
    const { server, read } = await open();
    server.answer = first(1, status(503));
    expect((await read(0, 10)).equals(server.bytes.subarray(0, 10))).toBe(true);
    server.answer = first(1, (_, response) => response.socket?.destroy());
    expect((await read(0, 10)).equals(server.bytes.subarray(0, 10))).toBe(true);
    const before = server.asked.length;
    server.answer = first(99, status(502));
    expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_AWAY');
    expect(server.asked.length - before).toBe(4);
    await server.stop();
    expect(await codeOf(() => read(0, 10))).toBe('ERR_SOURCE_AWAY');
  });

  it('ends with its signal, whatever the server does', async () => {
    const { server, read } = await open();
    server.answer = () => true;
    const abort = new AbortController();
    const reading = codeOf(() => read(0, 10, abort.signal));
    await expect.poll(() => server.asked.length).toBe(2);
    abort.abort(new FarpageError('ERR_TIMEOUT'));
    expect(await reading).toBe('ERR_TIMEOUT');
  });
});

describe('the first look at a file behind HTTP', () => {
  it.each<[string, string, (server: WebServer) => void]>([
    [
      'a server without ranges',
      'ERR_UNSUPPORTED',
      (server) => {
        server.answer = (_, response) => {
          response.writeHead(200, { 'content-length': SIZE }).end(server.bytes);
          return true;
        };
      },
    ],
    [
      'a size that is not told',
      'ERR_UNSUPPORTED',
      (server) => {
        server.extra = { 'content-range': 'bytes 0-0/*' };
      },
    ],
    ['no such file', 'ERR_FILE_NOT_FOUND', (server) => (server.answer = first(9, status(404)))],
    [
      'an empty file',
      'ERR_FILE_EMPTY',
      (server) => {
        server.answer = (_, response) => {
          response.writeHead(416, { 'content-range': 'bytes */0' }).end();
          return true;
        };
      },
    ],
    [
      'a right that is missing',
      'ERR_FILE_ACCESS',
      (server) => {
        server.answer = first(9, status(401));
      },
    ],
  ])('tells %s', async (_, code, prepare) => {
    expect(await codeOf(() => open({}, prepare))).toBe(code);
  });

  it.each(['ftp://h/f', 'http://', 'nonsense', 'http://user@h/f', 'https://user:pass@h/f'])(
    'refuses %s',
    async (url) => {
      expect(await codeOf(() => new HttpFile({ url }))).toBe('ERR_ARGUMENT');
    },
  );
});

describe('redirects', () => {
  const to = (location: () => string) =>
    ((request, response) => {
      if (request.url !== '/old') return false;
      response.writeHead(302, { location: location() }).end();
      return true;
    }) satisfies Answer;

  it('are followed, and not asked for again until what they led to fails', async () => {
    const { server, read } = await open({ path: '/old' }, (fresh) => {
      fresh.answer = to(() => '/new');
    });
    await read(0, 10);
    expect(server.asked.map(({ url }) => url)).toEqual(['/old', '/new', '/new']);
    server.answer = (request, response) => {
      if (request.url === '/new') response.writeHead(403).end();
      return request.url === '/new' || to(() => '/newer')(request, response);
    };
    expect((await read(0, 10)).equals(server.bytes.subarray(0, 10))).toBe(true);
    expect(server.asked.slice(3).map(({ url }) => url)).toEqual(['/new', '/old', '/newer']);
  });

  it('end somewhere', async () => {
    const loop = open({ path: '/old' }, (fresh) => {
      fresh.answer = to(() => '/old');
    });
    expect(await codeOf(() => loop)).toBe('ERR_PROTOCOL');
  });

  it('lead nowhere that is not allowed, and to no other scheme', async () => {
    const check = () => {
      throw new FarpageError('ERR_URL_NOT_ALLOWED');
    };
    const allowed = (location: string, options = {}) =>
      codeOf(() =>
        open({ path: '/old', ...options }, (fresh) => (fresh.answer = to(() => location))),
      );
    expect(await allowed('/new', { check })).toBe('ERR_URL_NOT_ALLOWED');
    expect(await allowed('file:///etc/passwd')).toBe('ERR_URL_NOT_ALLOWED');
    expect(await allowed('http://user:pass@127.0.0.1/')).toBe('ERR_URL_NOT_ALLOWED');
  });

  it('take no authorization to another origin', async () => {
    const tokenFile = join(scratch(), 'token');
    writeFileSync(tokenFile, 'Basic dXNlcjpwYXNz\n');
    const other = await WebServer.start(patternOf(SIZE));
    const { server, read } = await open({ path: '/old', tokenFile }, (fresh) => {
      fresh.answer = to(() => other.url());
    });
    await read(0, 10);
    expect(server.asked[0]?.headers.authorization).toBe('Basic dXNlcjpwYXNz');
    expect(other.asked.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
    writeFileSync(tokenFile, 'secret');
    server.answer = () => false;
    other.answer = first(1, status(404));
    await read(0, 10);
    expect(server.asked.at(-1)?.headers.authorization).toBe('Bearer secret');
    writeFileSync(tokenFile, 'two words more');
    expect(await codeOf(() => read(0, 10))).toBe('ERR_TOKEN');
  });
});
