/**
 * The command line as one module, and a few that commands load when they need them: Node takes
 * 0.2 ms to find, read and link each of the 80 modules of `serve`, and a start has 100 ms. The
 * library and its types stay as tsc made them, and packages stay outside, with their licences.
 */
import { defineConfig } from 'rolldown';

export default defineConfig({
  input: { main: 'dist/cli/main.js' },
  platform: 'node',
  external: /^[^./]/,
  output: {
    dir: 'dist',
    format: 'esm',
    // Both two folders deep: modules look for files of the package from there.
    entryFileNames: 'cli/[name].js',
    chunkFileNames: 'bundle/[name].js',
  },
});
