import { describe, expect, it } from 'vitest';
import { FabricError, FarpageError } from '../../../src/errors.js';
import { completionError } from '../../../src/fabric/completion-error.js';

describe('completion errors', () => {
  it('carry the Terminate where there was one', () => {
    const error = completionError('ERR_BOUNDS', 0x0101ff);
    expect(error).toBeInstanceOf(FabricError);
    expect(error).toMatchObject({
      code: 'ERR_BOUNDS',
      rdmap: { layer: 1, type: 1, code: 255 },
    });
    expect(error.message).toContain('1/1/255');
  });

  it('are plain without one, and internal for a code nobody knows', () => {
    expect(completionError('ERR_CONNECTION', -1)).not.toBeInstanceOf(FabricError);
    expect(completionError('ERR_CONNECTION', -1)).toBeInstanceOf(FarpageError);
    expect(completionError('ERR_NOT_A_CODE', -1).code).toBe('ERR_INTERNAL');
    expect(completionError(undefined, -1).code).toBe('ERR_INTERNAL');
  });
});
