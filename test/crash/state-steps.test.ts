import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { type Client, connect } from '../../src/client/client.js';
import { ControlClient } from '../../src/control/http-client.js';
import { connectClient, serveAppliance } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { killsOf, pageOf, randomOf, SEED, versionOf } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const FIXTURE = fileURLToPath(new URL('../fixtures/faulty-fs.mjs', import.meta.url));
/** Calls on the state directory that the scenario makes, and some more. */
const CALLS = 90;
const TIMEOUT = { timeoutMs: 2000 };

/** What was intended, and what the appliance has confirmed of it. */
class Intentions {
  readonly begun = new Set<string>();
  readonly done = new Set<string>();
  tried = 0;
  promised = 0;
  epoch = 0;

  async step(name: string, work: () => Promise<unknown>): Promise<void> {
    this.begun.add(name);
    await work();
    this.done.add(name);
  }
}

/** Makes, writes, syncs and removes regions, until its appliance dies under it. */
async function live(url: string, told: Intentions): Promise<void> {
  const path = url.replace('farpage+unix:', '');
  const control = new ControlClient({ address: { path } });
  const create = (name: string) =>
    told.step(`create ${name}`, () =>
      control.call('create', { ...TIMEOUT, body: { name, size: 2 ** 20, persist: true } }),
    );
  const remove = (region: string) =>
    told.step(`remove ${region}`, () =>
      control.call('remove', { ...TIMEOUT, params: { region }, query: { dirty: 'discard' } }),
    );
  let client: Client | undefined;
  try {
    await create('a');
    client = await connect(url);
    const region = await client.attach('a');
    const sync = async () => {
      told.tried += 1;
      const version = told.tried;
      await region.write(0, pageOf(version), TIMEOUT);
      const { epoch = 0 } = await region.sync(TIMEOUT);
      told.promised = version;
      told.epoch = epoch;
    };
    await sync();
    await create('b');
    await sync();
    await remove('b');
    await create('c');
    await sync();
    await create('b');
    await remove('c');
  } finally {
    control.close();
    await client?.close();
  }
}

/** Lives with an appliance; whether that was killed before the end of it. */
async function dies(start: () => Promise<ServeProcess>, told: Intentions): Promise<boolean> {
  let serve: ServeProcess | undefined;
  try {
    serve = await start();
    await live(serve.ready.control, told);
    await serve.end('SIGKILL');
    return false;
  } catch (error) {
    // It tells of its end by a lost connection first.
    for (let n = 0; n < 200 && serve?.child.signalCode === null; n += 1) await sleep(10);
    if (serve?.child.signalCode === null) throw error;
    return true;
  }
}

async function look(folder: string, told: Intentions): Promise<void> {
  const { appliance, url } = await serveAppliance({}, folder);
  const names = appliance.regions().map(({ name }) => name);
  const client = await connectClient(url);
  // b is made twice, so that it may be there or not once its removal has begun.
  const sure = { a: told.done.has('create a'), c: told.done.has('create c') };
  if (sure.a) expect(names).toContain('a');
  if (sure.c && !told.begun.has('remove c')) expect(names).toContain('c');
  if (told.done.has('remove c')) expect(names).not.toContain('c');
  if (!told.begun.has('create c')) expect(names).not.toContain('c');
  // Whatever the catalog names can be used.
  for (const name of names) await (await client.attach(name)).read(0, 8);
  if (names.includes('a')) {
    const region = await client.attach('a');
    const found = versionOf(await region.read(0, 4096));
    expect(found).toBeGreaterThanOrEqual(told.promised);
    expect(found).toBeLessThanOrEqual(told.tried);
    expect((await region.receipt()).epoch).toBeGreaterThanOrEqual(told.epoch);
    if (told.tried > 0) expect(await region.lostSince(told.epoch)).toBe(true);
  }
  // And it goes on.
  appliance.create({ name: 'later', size: 4096, persist: true });
  await appliance.close();
  const kept = readdirSync(join(folder, 'state', 'regions')).filter((name) =>
    name.endsWith('.pages'),
  );
  // At most what one step left that was cut short.
  expect(kept.length).toBeLessThanOrEqual(names.length + 2);
}

it(`survives a kill at any call on its state directory (seed ${SEED})`, async () => {
  const below = randomOf(SEED);
  const kills = killsOf(6);
  let killed = 0;
  for (let n = 0; n < kills; n += 1) {
    const folder = scratch();
    const nth = 1 + below(CALLS);
    const told = new Intentions();
    const fault = { folder: join(folder, 'state'), nth, error: 'kill' };
    const env = { NODE_OPTIONS: `--import=${FIXTURE}`, FARPAGE_FS_FAULT: JSON.stringify(fault) };
    if (await dies(() => ServeProcess.start(folder, [], env), told)) killed += 1;
    await look(folder, told).catch((error: unknown) => {
      throw new Error(`killed at call ${nth}`, { cause: error });
    });
  }
  expect(killed).toBeGreaterThan(0);
}, 3_600_000);
