import { request } from 'node:http';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ROUTES } from '../../src/control/routes.js';
import { serveAppliance } from '../helpers/appliance.js';

const RUNS = 400;

function ask(
  socketPath: string,
  { method, path, body }: { method: string; path: string; body: string },
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-length': Buffer.byteLength(body) };
    const sent = request({ socketPath, method, path, headers }, (message) => {
      let text = '';
      message.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      message.once('end', () => resolve({ status: message.statusCode ?? 0, text }));
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

const value = fc.oneof(
  fc.constantFrom('r', '@000000000000', '0'.repeat(32), '../r', '%', '\0', '18446744073709551616'),
  fc.string(),
  fc.double(),
  fc.maxSafeInteger(),
  fc.boolean(),
  fc.constant(null),
);
const body = fc.oneof(
  fc.dictionary(
    fc.constantFrom('name', 'file', 'size', 'offset', 'length', 'region', 'access', 'host', 'fill'),
    value,
  ),
  fc.json(),
  fc.string(),
);
const routes = Object.values(ROUTES).map((route) => {
  return { method: route.method, path: route.path, query: 'query' in route };
});
const anyRoute = fc.constantFrom(...routes);

it('answers every request with a reply or a failure of ours, and lives', async () => {
  const { appliance, control } = await serveAppliance();
  await appliance.create({ name: 'r', size: 8192 });
  const { socket } = appliance.doors;
  const property = fc.asyncProperty(anyRoute, value, value, body, async (route, one, two, sent) => {
    const fill = [one, two].map((each) => encodeURIComponent(String(each)) || 'x');
    const path = route.path.replace(/:\w+/g, () => fill.shift() ?? 'x');
    const text = typeof sent === 'string' ? sent : JSON.stringify(sent);
    const query = route.query ? `?cells=${encodeURIComponent(String(two))}` : '';
    const answer = await ask(socket, { method: route.method, path: path + query, body: text });
    const reply = JSON.parse(answer.text);
    if (answer.status === 200) return;
    expect(reply).toMatchObject({
      code: expect.stringMatching(/^ERR_/),
      message: expect.any(String),
    });
    expect(reply.code, `${route.method} ${path} ${text}: ${answer.text}`).not.toBe('ERR_INTERNAL');
  });
  await fc.assert(property, { numRuns: RUNS });
  expect((await control.call('health', {})).status).toBe('ok');
});
