/**
 * Producers and consumers in processes of their own, with a queue in far memory between them: a
 * FETCH_ADD takes the next place, and a slot of 64 bytes, which is read and written in one piece,
 * says by its number whose turn it is. Run it: node test/examples/queue.mjs
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Appliance, connect } from 'farpage';

const SLOTS = 64;
const SLOT_BYTES = 64;
/** Two counters, each in a cache line of its own, and then the slots. */
const [PUT, TAKEN, FIRST] = [0, 64, 4096];
const ITEMS = 1000;
const PROCESSES = 2;

/** The slot of a ticket; its first word is the ticket when it is free, one more when it is full. */
const slotAt = (ticket) => FIRST + Number(ticket % BigInt(SLOTS)) * SLOT_BYTES;

async function waitFor(region, at, number) {
  for (;;) {
    const slot = Buffer.from(await region.read(at, SLOT_BYTES));
    if (slot.readBigUInt64LE(0) === number) return slot;
  }
}

async function put(region, value) {
  const ticket = await region.fetchAdd(PUT, 1n);
  const at = slotAt(ticket);
  const slot = await waitFor(region, at, ticket);
  slot.writeBigUInt64LE(ticket + 1n, 0);
  slot.writeBigUInt64LE(value, 8);
  await region.write(at, slot);
}

async function take(region) {
  const ticket = await region.fetchAdd(TAKEN, 1n);
  const at = slotAt(ticket);
  const slot = await waitFor(region, at, ticket + 1n);
  const value = slot.readBigUInt64LE(8);
  slot.writeBigUInt64LE(ticket + BigInt(SLOTS), 0); // Free for whoever comes a round later.
  await region.write(at, slot);
  return value;
}

/** What a child does: `put` or `take` its share; a consumer prints the sum of what it took. */
async function work([role, url]) {
  const client = await connect(url);
  const region = await client.attach('queue');
  let sum = 0n;
  for (let item = 1; item <= ITEMS / PROCESSES; item += 1) {
    if (role === 'put') await put(region, BigInt(item));
    else sum += await take(region);
  }
  await client.close();
  if (role === 'take') console.log(`${sum}`);
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'farpage-queue-'));
  const options = { socket: join(folder, 's'), stateDirectory: join(folder, 'state') };
  const appliance = await Appliance.open({ ...options, memory: '16MiB' });
  const url = `farpage+unix:${appliance.doors.socket}`;
  const client = await connect(url);
  const region = await client.allocate({ name: 'queue', size: '64KiB', fill: 'zero' });
  const slots = Buffer.alloc(SLOTS * SLOT_BYTES);
  for (let at = 0; at < SLOTS; at += 1) slots.writeBigUInt64LE(BigInt(at), at * SLOT_BYTES);
  await region.write(FIRST, slots);
  const roles = ['put', 'take'].flatMap((role) => Array(PROCESSES).fill(role));
  const children = roles.map((role) => {
    const words = [fileURLToPath(import.meta.url), role, url];
    return spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  });
  let sum = 0n;
  for (const child of children) {
    child.stdout.on('data', (text) => {
      sum += BigInt(text.toString());
    });
  }
  await Promise.all(children.map((child) => once(child, 'close')));
  const share = BigInt(ITEMS / PROCESSES);
  const wanted = BigInt(PROCESSES) * ((share * (share + 1n)) / 2n);
  const all = sum === wanted ? 'each came once' : `sum ${sum}, not ${wanted}`;
  console.log(`${ITEMS} items through ${SLOTS} slots between ${roles.length} processes: ${all}`);
  await client.close();
  await appliance.close();
  rmSync(folder, { recursive: true });
}

await (process.argv.length > 2 ? work(process.argv.slice(2)) : main());
