import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connectClient } from '../helpers/appliance.js';
import { ServeProcess } from '../helpers/cli.js';
import { killsOf, pageOf } from '../helpers/crash.js';
import { scratch } from '../helpers/scratch.js';

const PAGES = 64;
const ROUNDS = killsOf(6);

it('restores a kept region as it was synced when it is killed at any moment', async () => {
  const folder = scratch();
  const intended = new Array<number>(PAGES).fill(0);
  const promised = new Array<number>(PAGES).fill(0);
  let version = 0;
  for (let round = 0; round <= ROUNDS; round += 1) {
    const serve = await ServeProcess.start(folder);
    if (round === 0) await serve.json(['create', 'r', '--size', '1GiB', '--persist']);
    const region = await (await connectClient(serve.ready.control)).attach('r');
    for (let page = 0; page < PAGES; page += 1) {
      // Far apart, so that every page is a run of its own in the kept file.
      const found = Buffer.from(await region.read(page * 16_384, 4096));
      const seen = found.readDoubleLE(0);
      expect(Buffer.compare(found, pageOf(seen)), `page ${page} is torn`).toBe(0);
      expect(seen).toBeGreaterThanOrEqual(promised[page] ?? 0);
      expect(seen).toBeLessThanOrEqual(intended[page] ?? 0);
      promised[page] = intended[page] = seen;
    }
    let alive = true;
    const work = (async () => {
      while (alive) {
        for (let at = 0; at < 8; at += 1) {
          version += 1;
          const page = (version * 7) % PAGES;
          intended[page] = version;
          await region.write(page * 16_384, pageOf(version), { timeoutMs: 2000 });
        }
        const before = [...intended];
        await region.sync({ timeoutMs: 2000 });
        for (const [page, seen] of before.entries()) promised[page] = seen;
      }
    })().catch(() => {});
    await sleep(60 + (round % 8) * 37);
    await serve.end('SIGKILL');
    alive = false;
    await work;
  }
  expect(Math.max(...promised)).toBeGreaterThan(0);
});
