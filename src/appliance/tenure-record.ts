/** Who may go on carving a region, kept over restarts. */
import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { secret } from '../control/schema-values.js';
import { CheckedJson } from './checked-json.js';
import { replaceFileBehind } from './durable-file.js';

const file = new CheckedJson({
  format: 'farpage-tenure',
  version: 1,
  key: 'carving',
  schema: v.object({ tenure: secret }),
});

/** A small file beside a region's others: the tenure that was begun last. */
export class TenureRecord {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The tenure; nothing where it is missing, damaged, of another version or cannot be read: then
   * anybody may have carved since.
   */
  async read(): Promise<string | undefined> {
    try {
      return file.decode(await readFile(this.#path, 'utf8')).tenure;
    } catch {
      return undefined;
    }
  }

  /** Durable when it settles. ERR_IO, ERR_NO_SPACE: then the file has the old one, or this. */
  async write(tenure: string): Promise<void> {
    await replaceFileBehind(this.#path, file.encode({ tenure }));
  }

  /** Deletes it; once no write is under way. */
  forget(): void {
    rmSync(this.#path, { force: true });
    rmSync(`${this.#path}.next`, { force: true });
  }
}
