import process from "node:process";

/**
 * Says in one line what this machine cannot test. With `CI` set it fails instead: there, everything is
 * installed and nothing goes untested.
 */
export function missing(what: string): void {
  if (process.env.CI) throw new Error(`Cannot test: ${what}`);
  console.log(`Not tested: ${what}`);
}
