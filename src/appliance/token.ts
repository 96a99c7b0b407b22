/** Secrets: the token of the TCP door, and the random identities of sessions and tickets. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { FarpageError } from '../errors.js';

const SECRET_BYTES = 16;
const TOKEN_BYTES = 32;
/** Characters of a token from a file at least; fewer can be guessed. */
const TOKEN_CHARACTERS_MIN = 16;

/** 128 random bits. */
export function randomSecret(): Buffer {
  return randomBytes(SECRET_BYTES);
}

/** The token in a file, without the white space around it; ERR_TOKEN when it is none. */
export function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new FarpageError('ERR_TOKEN', `${path} cannot be read`, { cause });
  }
  if (token.length >= TOKEN_CHARACTERS_MIN && /^[\x21-\x7e]+$/.test(token)) return token;
  const needed = `${TOKEN_CHARACTERS_MIN} or more printable characters and no space`;
  throw new FarpageError('ERR_TOKEN', `${path} must hold ${needed}`);
}

/**
 * The `Authorization` header that a file stands for: `Bearer` and what is in it, or what is in it
 * when it names a scheme of its own, like `Basic dXNlcjpwYXNz`. ERR_TOKEN.
 */
export function readAuthorization(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new FarpageError('ERR_TOKEN', `${path} cannot be read`, { cause });
  }
  if (/^[\x21-\x7e]+$/.test(text)) return `Bearer ${text}`;
  if (/^[A-Za-z][A-Za-z0-9-]* +[\x21-\x7e]+$/.test(text)) return text;
  throw new FarpageError('ERR_TOKEN', `${path} must hold a token, or a scheme and a token`);
}

/** The token kept at `path` (0600), made there when there is none yet. */
export function keepToken(path: string): string {
  try {
    writeFileSync(path, `${randomBytes(TOKEN_BYTES).toString('base64url')}\n`, {
      flag: 'wx',
      mode: 0o600,
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new FarpageError('ERR_TOKEN', `${path} cannot be written`, { cause });
    }
  }
  return readToken(path);
}
