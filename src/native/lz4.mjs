// Prints the folder of LZ4's sources, for binding.gyp: the reference library as lmdb ships it.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const lmdb = createRequire(import.meta.url).resolve('lmdb');
console.log(join(dirname(dirname(lmdb)), 'dependencies/lz4/lib'));
