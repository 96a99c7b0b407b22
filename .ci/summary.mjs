// Adds up vitest's JSON reports of a folder: `summary.mjs FOLDER ALLOWED…`. Failures and skips that
// match none of the allowed patterns are printed to stderr, and count as failed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, ...allowed] = process.argv.slice(2);
const patterns = allowed.map((text) => new RegExp(text, 'i'));
const count = { passed: 0, failed: 0, skipped: 0 };

for (const name of readdirSync(folder)) {
  const report = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  for (const file of report.testResults) {
    // A file that could not be loaded has no tests to fail.
    if (file.status === 'failed' && file.assertionResults.length === 0) {
      count.failed += 1;
      console.error(`ci: failed to load ${file.name}: ${file.message}`);
    }
    for (const test of file.assertionResults) {
      if (test.status === 'passed') count.passed += 1;
      else if (test.status === 'failed') {
        count.failed += 1;
        console.error(`ci: failed in ${name}: ${test.fullName}`);
      } else if (patterns.some((pattern) => pattern.test(test.fullName))) count.skipped += 1;
      else {
        count.failed += 1;
        console.error(`ci: skipped without leave in ${name}: ${test.fullName}`);
      }
    }
  }
}

console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0);
