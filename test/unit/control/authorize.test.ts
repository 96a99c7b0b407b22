import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { authorize, isLoopback, sameSecret } from '../../../src/control/authorize.js';
import { codeOf } from '../../helpers/codes.js';

const TOKEN = 'a-token-of-enough-length';
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;

describe('authorize', () => {
  it.each([
    ['the Unix socket', 'unix', TOKEN, {}],
    ['the right token', 'tcp', TOKEN, { authorization: `Bearer ${TOKEN}` }],
    ['a loopback host without a token', 'tcp', undefined, { host: '127.0.0.1:7433' }],
  ] as const)('lets %s in', (_, door, token, headers) => {
    expect(() => authorize(request(headers), { door, token })).not.toThrow();
  });

  it.each([
    ['no token', TOKEN, {}],
    ['another token', TOKEN, { authorization: `Bearer ${TOKEN}x` }],
    ['a prefix of it', TOKEN, { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
    ['another scheme', TOKEN, { authorization: `Basic ${TOKEN}` }],
    ['a web page', undefined, { host: 'localhost:1', origin: 'http://evil.example' }],
    ['a rebound name', undefined, { host: 'evil.example:7433' }],
  ] as const)('refuses %s on TCP', async (_, token, headers) => {
    const call = () => authorize(request(headers), { door: 'tcp', token });
    expect(await codeOf(call)).toBe('ERR_TOKEN');
  });
});

it.each([
  ['127.0.0.1', true],
  ['127.8.9.1:80', true],
  ['::1', true],
  ['[::1]:80', true],
  ['localhost', true],
  ['0.0.0.0', false],
  ['::', false],
  ['127.0.0.1.evil.example', false],
  ['192.168.0.1', false],
])('isLoopback(%s) is %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

it('compares secrets of any length', () => {
  expect(sameSecret('a', 'a')).toBe(true);
  expect(sameSecret('a', 'ab')).toBe(false);
});
