import { describe, expect, it } from 'vitest';
import {
  defaultSocketPath,
  findAppliance,
  formatUrl,
  noRegionIn,
  parseHostPort,
  parseUrl,
} from '../../../src/control/address.js';
import { codeOf } from '../../helpers/codes.js';

describe('parseUrl', () => {
  it.each([
    ['farpage://host', { address: { host: 'host', port: 7433 } }],
    ['farpage://127.0.0.1:80', { address: { host: '127.0.0.1', port: 80 } }],
    ['farpage://[::1]:9/a.b', { address: { host: '::1', port: 9 }, region: 'a.b' }],
    ['farpage://host/', { address: { host: 'host', port: 7433 } }],
    ['farpage+unix:/run/f.sock', { address: { path: '/run/f.sock' } }],
    ['farpage+unix:/a%20b?region=m', { address: { path: '/a b' }, region: 'm' }],
  ])('reads %s', (text, expected) => {
    expect(parseUrl(text)).toEqual(expected);
  });

  it.each([
    'host:7433',
    'http://host',
    'farpage:///region',
    'farpage://host:65536',
    'farpage+unix:relative',
    'farpage+unix://host/path',
    'farpage+unix:/50%',
    'farpage://host/50%zz',
    'farpage://user:secret@host',
    '',
  ])('refuses "%s"', async (text) => {
    expect(await codeOf(() => parseUrl(text))).toBe('ERR_ARGUMENT');
  });

  it('says how a URL of an appliance, or of a region there, is written', () => {
    expect(() => parseUrl('http://host')).toThrow(
      /farpage:\/\/HOST\[:PORT\] nor farpage\+unix:\/PATH$/,
    );
    expect(noRegionIn('farpage+unix:/s').message).toMatch(
      /names no region; write .*\?region=REGION$/,
    );
  });

  it('refuses a socket path that is too long for the kernel, not the longest one', async () => {
    const path = `/${'a'.repeat(106)}`;
    expect(parseUrl(`farpage+unix:${path}`).address).toEqual({ path });
    expect(await codeOf(() => parseUrl(`farpage+unix:${path}b`))).toBe('ERR_SOCKET_PATH');
  });

  it('does not tell the secret of a URL in its error', () => {
    expect(() => parseUrl('farpage://user:hunter2@host')).toThrow(/^(?!.*hunter2)/);
  });
});

describe('findAppliance', () => {
  const env = { XDG_RUNTIME_DIR: '/run/user/7', FARPAGE_URL: 'farpage://env' };
  it('takes what was given, then FARPAGE_URL, then the default socket', () => {
    const host = (name: string) => ({ address: { host: name, port: 7433 } });
    expect(findAppliance('farpage://given', env)).toEqual(host('given'));
    expect(findAppliance(undefined, env)).toEqual(host('env'));
    const socket = { address: { path: '/run/user/7/farpage.sock' } };
    expect(findAppliance(undefined, { ...env, FARPAGE_URL: '' })).toEqual(socket);
  });

  it('has a default socket for each user without a runtime directory', () => {
    expect(defaultSocketPath({})).toMatch(
      new RegExp(`/farpage-${process.getuid?.()}/farpage.sock$`),
    );
  });
});

describe('parseHostPort', () => {
  it.each([
    ['host', { host: 'host', port: 5 }],
    ['host:0', { host: 'host', port: 0 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['[::]', { host: '::', port: 5 }],
  ])('reads %s', (text, expected) => {
    expect(parseHostPort(text, 5)).toEqual(expected);
  });

  it.each(['', ':80', 'a:b', 'a:70000', '::1', 'a b:1'])('refuses "%s"', async (text) => {
    expect(await codeOf(() => parseHostPort(text, 5))).toBe('ERR_ARGUMENT');
  });
});

it.each(['/a?b', '/a#b', '/50%', '/%41', '/a b', '/ü/:@&=+$,;', '/[x]/\\'])(
  'takes the socket path %s there and back',
  (path) => {
    expect(parseUrl(formatUrl({ path })).address).toEqual({ path });
    expect(parseUrl(`${formatUrl({ path })}?region=r`)).toEqual({ address: { path }, region: 'r' });
  },
);

it('says which URL an absolute path would make', () => {
  const path = `${process.cwd()}/run/s`;
  expect(() => parseUrl('farpage+unix:run/s')).toThrow(`farpage+unix:${path}`);
});

it('formats what it parses', () => {
  for (const text of ['farpage://host:1', 'farpage://[::1]:7433', 'farpage+unix:/a%20b']) {
    expect(formatUrl(parseUrl(text).address)).toBe(text);
  }
});
