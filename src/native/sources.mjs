// Prints the C++ sources of the folders named on the command line, one a line, for binding.gyp.
// A folder that is missing or empty adds nothing, so that rooms can come one by one.
import { readdirSync } from 'node:fs';

for (const folder of process.argv.slice(2)) {
  let names = [];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  for (const name of names.sort()) if (name.endsWith('.cc')) console.log(`${folder}/${name}`);
}
