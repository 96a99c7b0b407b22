/** Failures of system calls, for people. */

/** What the system said of a failure, as `permission denied (EACCES)`. */
export function systemReason(error: unknown): string {
  const { code, message = '' } = error as NodeJS.ErrnoException;
  if (code === undefined) return message;
  const words = new RegExp(`${code}: ([a-z ]+[a-z])`).exec(message)?.[1];
  return words === undefined ? code : `${words} (${code})`;
}
