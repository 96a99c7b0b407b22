/** JSON files of the state directory: a format, its version, a checksum, and what they keep. */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { parseJson, validate } from '../control/message.js';
import { FarpageError } from '../errors.js';

/** Of what stands in the file, with its keys in the order that the schema has them. */
function checksumOf(content: unknown): string {
  return createHash('sha256').update(JSON.stringify(content)).digest('hex');
}

/** One kind of such a file: what it keeps is under a key of its own, beside the checksum of it. */
export class CheckedJson<Key extends string, Schema extends v.GenericSchema> {
  readonly #format: string;
  readonly #version: number;
  readonly #key: Key;
  readonly #schema: Schema;
  readonly #advise: (found: number) => string;

  constructor(options: {
    format: string;
    version: number;
    key: Key;
    schema: Schema;
    /** What to do about a file of another version. */
    advise?: (found: number) => string;
  }) {
    this.#format = options.format;
    this.#version = options.version;
    this.#key = options.key;
    this.#schema = options.schema;
    this.#advise = options.advise ?? (() => '');
  }

  /** The text of a file that keeps `content`, which must be an output of the schema. */
  encode(content: v.InferOutput<Schema>): string {
    const checksum = checksumOf(content);
    const [format, version] = [this.#format, this.#version];
    return JSON.stringify({ format, version, checksum, [this.#key]: content });
  }

  /** What a text keeps. ERR_STATE_VERSION for another version, ERR_STATE_DAMAGED says why. */
  decode(text: string): v.InferOutput<Schema> {
    const json = parseJson(text, 'ERR_STATE_DAMAGED');
    // Only these two stand in every version to come.
    const heading = v.object({
      format: v.literal(this.#format),
      version: v.pipe(v.number(), v.integer()),
    });
    const { version } = validate(heading, json, 'ERR_STATE_DAMAGED');
    if (version !== this.#version) {
      const what = `it is of version ${version}, and this Farpage reads version ${this.#version}`;
      const advice = this.#advise(version);
      throw new FarpageError('ERR_STATE_VERSION', advice === '' ? what : `${what}; ${advice}`);
    }
    const document = v.object({ checksum: v.string(), [this.#key]: this.#schema });
    const found = validate(document, json, 'ERR_STATE_DAMAGED');
    const content: v.InferOutput<Schema> = found[this.#key];
    if (checksumOf(content) === found.checksum) return content;
    throw new FarpageError('ERR_STATE_DAMAGED', 'its checksum does not match');
  }
}
