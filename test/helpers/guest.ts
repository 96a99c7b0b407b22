/** A guest machine with a foreign RDMA stack (siw, rdma-core, librpma), of test/guest/build.sh. */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const QEMU = 'qemu-system-x86_64';
const FOLDER = fileURLToPath(new URL('../../.build/guest', import.meta.url));
const MEMORY = '256';
/** A boot takes 4 s on an idle machine; it is emulated, as KVM within a guest is not relied on. */
export const BOOT_MS_MAX = 120_000;

/** Why there can be no guest here; undefined if there can. */
export function whyNoGuest(): string | undefined {
  if (spawnSync(QEMU, ['--version']).error) return `${QEMU} is not installed`;
  if (!existsSync(join(FOLDER, 'built'))) return 'npm run build:guest has not been run';
  return undefined;
}

/** The host's loopback as the guest sees it. */
export const HOST_OF_GUEST = '10.0.2.2';

export interface GuestRun {
  readonly status: number;
  readonly lines: readonly string[];
}

export class GuestMachine implements Disposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #console: Interface;
  readonly #lines: AsyncIterator<string>;

  private constructor() {
    const boot = ['-kernel', join(FOLDER, 'vmlinuz'), '-initrd', join(FOLDER, 'initrd')];
    const card = ['-netdev', 'user,id=card', '-device', 'virtio-net-pci,netdev=card,romfile='];
    const shell = ['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'];
    const append = ['-append', 'console=ttyS0 quiet panic=-1'];
    const words = ['-accel', 'tcg', '-cpu', 'max', '-m', MEMORY, ...shell, ...boot, ...append];
    this.#child = spawn(QEMU, [...words, ...card], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#console = createInterface({ input: this.#child.stdout });
    this.#lines = this.#console[Symbol.asyncIterator]();
  }

  /** Starts one and waits until its shell reads. Bounded by the caller's BOOT_MS_MAX. */
  static async boot(): Promise<GuestMachine> {
    const guest = new GuestMachine();
    try {
      await guest.#until(/^booted /);
      return guest;
    } catch (error) {
      guest[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Runs one line of shell to its end; one at a time. `started` is called with each line that it
   * prints as it comes. Its own programs end by themselves within 60 s.
   */
  async run(line: string, started: (line: string) => void = () => {}): Promise<GuestRun> {
    this.#child.stdin.write(`${line}\n`);
    const lines = await this.#until(/^status \d+$/, started);
    const status = Number(lines.pop()?.slice('status '.length));
    return { status, lines };
  }

  [Symbol.dispose](): void {
    this.#console.close();
    this.#child.kill('SIGKILL');
  }

  /** Lines up to one that matches, which is the last. */
  async #until(end: RegExp, each: (line: string) => void = () => {}): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      const next = await this.#lines.next();
      if (next.done) throw new Error(`the guest ended:\n${lines.join('\n')}`);
      lines.push(next.value);
      each(next.value);
      if (end.test(next.value)) return lines;
    }
  }
}

/** What the guest's clients write with a seed (test/guest/steps.h). */
export function guestPattern(seed: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at += 1)
    bytes[at] = Math.imul(at ^ seed, 2_654_435_761) >>> 13;
  return bytes;
}

/** FNV-1a of 32 bits as the guest's clients print it. */
export function hashOf(bytes: Uint8Array): string {
  let hash = 2_166_136_261;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 16_777_619);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
