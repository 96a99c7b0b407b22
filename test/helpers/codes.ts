/** What a call fails with, so that tests can name the code alone. */

function codeIn(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : `not a code: ${error}`;
}

/** The code that a call throws or rejects with; 'nothing' when it does neither. */
export async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return 'nothing';
  } catch (error) {
    return codeIn(error);
  }
}
