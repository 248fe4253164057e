// Counts what was checked.

let passed = 0;
let failed = 0;

/** One thing checked; `detail` is printed where it does not hold. */
export function check(what, holds, detail = "") {
  if (holds) passed++;
  else failed++;
  console.log(`${holds ? "ok    " : "FAILED"} ${what}${holds ? "" : `: ${detail}`}`);
}

/** Checks in a group; an error is a failure of the group, and the next one goes on. */
export async function group(name, run) {
  console.log(`\n# ${name}`);
  try {
    await run();
  } catch (error) {
    check(name, false, error.stack);
  }
}

/** Ends the program with the counts that scripts add up. */
export function finish() {
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
