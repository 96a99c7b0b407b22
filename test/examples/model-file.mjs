/**
 * A file of weights, larger than the memory that is given to it: the appliance maps it, and a
 * client reads tensors of it straight into arrays of its own, without a copy and without the file
 * system. Run it: node test/examples/model-file.mjs
 */
import { mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Appliance, connect, formatSize } from 'farpage';

const TENSORS = 64;
const NUMBERS = 256 * 1024; // 1 MiB each

const folder = mkdtempSync(join(tmpdir(), 'farpage-model-'));

/** Tensor `n` has the numbers n, n + 1, … */
function makeModel(path) {
  const file = openSync(path, 'w');
  for (let n = 0; n < TENSORS; n += 1) {
    writeSync(
      file,
      Float32Array.from({ length: NUMBERS }, (_, at) => n + at),
    );
  }
  return path;
}

const path = makeModel(join(folder, 'model.bin'));
const options = { socket: join(folder, 's'), stateDirectory: join(folder, 'state') };
const appliance = await Appliance.open({
  ...options,
  memory: '16MiB',
  regions: [{ name: 'model', file: path, access: 'read-only' }],
});
const client = await connect(`farpage+unix:${appliance.doors.socket}`);
const model = await client.attach('model');
console.log(`${model.name}: ${formatSize(model.size)} in ${formatSize(16 * 2 ** 20)} of memory`);

/** Reads a tensor into an array that is used again and again. */
const tensor = new Float32Array(NUMBERS);
const bytes = new Uint8Array(tensor.buffer);
async function load(n) {
  await model.readInto(n * tensor.byteLength, bytes);
  return tensor;
}

const began = performance.now();
for (let n = 0; n < TENSORS; n += 1) {
  const [first, second] = await load(n);
  if (first !== n || second !== n + 1) throw new Error(`tensor ${n} begins with ${first}`);
}
const rate = model.size / (performance.now() - began) / 1e6;
console.log(`all ${TENSORS} tensors read, ${rate.toFixed(1)} GB/s`);

// What is needed always can stay in memory, and what comes next be brought near meanwhile.
await model.pin({ length: tensor.byteLength });
await model.prefetch({ offset: 32 * tensor.byteLength, length: 4 * tensor.byteLength, wait: true });
const { pages, operations } = await model.stat();
console.log(
  `${pages.total} pages, ${pages.pinned} of them pinned; ${operations.faulted} reads paged`,
);

const wanted = new Float32Array(NUMBERS);
readSync(openSync(path, 'r'), wanted, 0, wanted.byteLength, 7 * tensor.byteLength);
const found = await load(7);
const same = found.every((number, at) => number === wanted[at]);
console.log(`tensor 7 is ${same ? 'as' : 'not as'} in the file`);

await client.close();
await appliance.close();
rmSync(folder, { recursive: true });
