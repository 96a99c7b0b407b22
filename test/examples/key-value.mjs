/**
 * A key-value store in far memory. Records are slabs; an index of 64-bit words leads to them, and
 * COMPARE_SWAP puts a new record in the place of an old one, so that readers, here a client of its
 * own, see either. Run it: node test/examples/key-value.mjs
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Appliance, connect } from 'farpage';

const BUCKETS = 4096;
const HEADER_BYTES = 8;

function hashOf(key) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const byte of Buffer.from(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** A bucket's word: where the record is (40 bits) and how long (24 bits); 0 for none. */
const wordOf = ({ offset, size }) => (BigInt(offset) << 24n) | BigInt(size);
const placeOf = (word) => ({ offset: Number(word >> 24n), length: Number(word & 0xffffffn) });

function encode(key, value) {
  const [name, bytes] = [Buffer.from(key), Buffer.from(value)];
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(name.length, 0);
  header.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([header, name, bytes]);
}

function decode(record) {
  const [name, length] = [record.readUInt32LE(0), record.readUInt32LE(4)];
  const value = HEADER_BYTES + name;
  return [record.toString('utf8', HEADER_BYTES, value), record.subarray(value, value + length)];
}

/** Reads; needs nothing but the region and the place of its index. */
class Reader {
  constructor(region, index) {
    this.region = region;
    this.index = index;
  }

  /** The record of a key, or the free bucket where it would be. */
  async find(key) {
    for (let probe = 0; probe < BUCKETS; probe += 1) {
      const at = ((hashOf(key) + probe) % BUCKETS) * 8;
      for (let word = await this.word(at); ; ) {
        if (word === 0n) return { at, word };
        const { offset, length } = placeOf(word);
        const record = Buffer.from(await this.region.read(offset, length));
        const now = await this.word(at);
        if (now === word) {
          const [name, value] = decode(record);
          if (name === key) return { at, word, value };
          break; // Another key's bucket: the next one.
        }
        word = now; // It was replaced meanwhile, and its slab may be another record's.
      }
    }
    throw new Error('the index is full');
  }

  async word(at) {
    return Buffer.from(await this.index.read(at, 8)).readBigUInt64LE();
  }

  async get(key) {
    return (await this.find(key)).value;
  }
}

/** Writes as well: it has the right to carve slabs, so it is one at a time. */
class Writer extends Reader {
  slabs = new Map();

  async put(key, value) {
    const record = encode(key, value);
    const slab = this.region.allocate(record.length);
    await slab.write(0, record);
    for (;;) {
      const { at, word } = await this.find(key);
      // Its bytes are placed before anybody is led to them: the write has been answered.
      if ((await this.index.compareSwap(at, word, wordOf(slab))) === word) break;
    }
    this.slabs.get(key)?.free();
    this.slabs.set(key, slab);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'farpage-kv-'));
const options = { socket: join(folder, 's'), stateDirectory: join(folder, 'state') };
const appliance = await Appliance.open({ ...options, memory: '64MiB' });
const url = `farpage+unix:${appliance.doors.socket}`;
const [owner, guest] = [await connect(url), await connect(url)];

const region = await owner.allocate({ name: 'store', size: '1TiB', fill: 'zero' });
const store = new Writer(region, region.allocate(BUCKETS * 8));
const shared = await guest.attach('store');
const { offset, size: length } = store.index;
const reader = new Reader(shared, shared.slab({ offset, length }));

const keys = Array.from({ length: 1000 }, (_, at) => `key ${at}`);
for (const key of keys) await store.put(key, `value of ${key}`);
await store.put('key 7', 'another value');
const found = await Promise.all(keys.map((key) => reader.get(key)));
console.log(`${found.length} keys; key 7: ${found[7]}, key 8: ${found[8]}`);
console.log(`a key that is not there: ${await reader.get('nothing')}`);
const { pages, size } = await region.stat();
console.log(`${pages.present} pages of ${size} bytes are in memory`);

await guest.close();
await owner.close();
await appliance.close();
rmSync(folder, { recursive: true });
