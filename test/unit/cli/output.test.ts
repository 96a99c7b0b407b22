import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Output } from '../../../src/cli/output.js';

function streams() {
  const out = new PassThrough();
  const err = new PassThrough();
  return { out, err, output: new Output({ out, err }) };
}

describe('Output', () => {
  it('writes lines and objects', () => {
    const { out, output } = streams();
    output.line('one');
    output.object({ a: 1 });
    expect(String(out.read())).toBe('one\n{"a":1}\n');
  });

  it('is closed, and says so, once nobody reads any more', async () => {
    const { out, output } = streams();
    expect(output.closed).toBe(false);
    out.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    await new Promise((resolve) => setImmediate(resolve));
    expect(output.closed).toBe(true);
    await output.bytes(Buffer.from('x'));
    output.line('nobody hears this');
  });

  it('waits until bytes have been handed on', async () => {
    const { out, output } = streams();
    let handed = false;
    const bytes = output.bytes(Buffer.alloc(100_000)).then(() => {
      handed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(handed).toBe(false);
    out.resume();
    await bytes;
    expect(handed).toBe(true);
  });
});
