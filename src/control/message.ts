/** Bodies and failures of the control plane as they stand on the wire. */
import type { IncomingMessage } from 'node:http';
import * as v from 'valibot';
import { type ErrorCode, FarpageError, isErrorCode } from '../errors.js';
import { contextOf } from './codes.js';
import { REGION_NAME } from './region-name.js';
import { BODY_BYTES_MAX, type Failure, failure } from './schema.js';

/** Reads a body of at most `bytesMax`; ERR_ARGUMENT beyond it. */
export async function readBody(
  message: IncomingMessage,
  bytesMax: number = BODY_BYTES_MAX,
): Promise<string> {
  const parts: Buffer[] = [];
  let total = 0;
  for await (const part of message as AsyncIterable<Buffer>) {
    total += part.length;
    if (total > bytesMax) throw new FarpageError('ERR_ARGUMENT', `a body over ${bytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Parses and validates; throws `code` with what is wrong and where, ERR_NAME for bad names. */
export function validate<S extends v.GenericSchema<unknown, unknown>>(
  schema: S,
  value: unknown,
  code: ErrorCode,
): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  const isName = code === 'ERR_ARGUMENT' && issue.requirement === REGION_NAME;
  if (isName) throw new FarpageError('ERR_NAME', issue.message);
  const unknown = issue.type === 'strict_object' && issue.expected === 'never';
  const what = unknown ? 'there is no such option' : issue.message;
  throw new FarpageError(code, path === null ? what : `${path}: ${what}`);
}

/** The JSON value of a text; throws `code` when it is none. */
export function parseJson(text: string, code: ErrorCode): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FarpageError(code, 'it is not JSON', { cause });
  }
}

/** How an error stands in a reply; what is not ours shows its message and no stack. */
export function toFailure(error: unknown): Failure {
  if (error instanceof FarpageError) {
    return { code: error.code, message: error.message, context: contextOf(error) };
  }
  const text = error instanceof Error ? error.message : String(error);
  return { code: 'ERR_INTERNAL', message: text, context: text };
}

/** The error that a reply carries. */
export function fromFailure(value: unknown): FarpageError {
  const read = v.safeParse(failure, value);
  if (!read.success) return new FarpageError('ERR_PROTOCOL', 'the reply is no failure of ours');
  const { code, context, message } = read.output;
  if (!isErrorCode(code))
    return new FarpageError('ERR_PROTOCOL', `unknown code ${code}: ${message}`);
  return new FarpageError(code, context);
}
