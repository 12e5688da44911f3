/** Node has no WebGPU of its own: `createBackend("gpu")` says which package brings it, and computes with it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { promisify } from "node:util";
import { FAMILIES } from "../ops/cases.ts";
import { missing } from "../support/missing.ts";
import { bundleForNode } from "./bundle.ts";
import type { Answer } from "./gpu.ts";

/** What `docs/gpu.md` names: not in package.json, where everyone would download its 132 MB. */
const PACKAGE = "webgpu@0.6.2";

/** Dawn takes this one, and refuses Mesa's. */
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

const software = !process.env.VK_ICD_FILENAMES && !existsSync("/dev/dri") && existsSync(SWIFTSHADER);
const env = { ...process.env, ...software && { VK_ICD_FILENAMES: SWIFTSHADER } };

const run = promisify(execFile);

/** In a folder of its own with the bundle, after `npm install` of `packages`. */
async function inNode(packages: string[]): Promise<Answer | { error: string }> {
  const cwd = await mkdtemp(join(tmpdir(), "tome-edge-node-"));
  try {
    await writeFile(join(cwd, "gpu.mjs"), await bundleForNode(new URL("gpu.ts", import.meta.url)));
    if (packages.length) {
      const flags = ["--prefix", cwd, "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"];
      await run("npm", ["install", ...flags, ...packages], { cwd, env, timeout: 120_000 });
    }
    const { stdout } = await run("node", ["gpu.mjs"], { cwd, env, timeout: 120_000 });
    // Deno takes the place of a `node` that is not there.
    if (stdout.startsWith("Not Node")) throw Object.assign(new Error("no node"), { code: "ENOENT" });
    return JSON.parse(stdout);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

/** Whether it is the machine that has no Node, or no registry. */
function isMissing(error: unknown): boolean {
  const { code, cmd = "" } = error as { code?: string | number; cmd?: string };
  return code === "ENOENT" || cmd.startsWith("npm");
}

test("Node names the package that brings it WebGPU", async () => {
  let answer: Answer | { error: string };
  try {
    answer = await inNode([]);
  } catch (error) {
    if (isMissing(error)) return missing(`the GPU in Node: ${error}`);
    throw error;
  }
  assert.ok("error" in answer, JSON.stringify(answer));
  assert.match(answer.error, /^Cannot start the GPU: .* not installed: npm install webgpu$/);
});

// The same Node runs it, whoever starts it: once is enough.
if (!("Bun" in globalThis)) {
  test("Node computes on the GPU", async () => {
    let answer: Answer | { error: string };
    try {
      answer = await inNode([PACKAGE]);
    } catch (error) {
      if (isMissing(error)) return missing(`the GPU in Node: ${error}`);
      throw error;
    }
    if ("error" in answer && /found (no|a null) adapter/.test(answer.error)) {
      return missing(`the GPU in Node: ${answer.error}`);
    }
    assert.ok("device" in answer, JSON.stringify(answer));
    assert.match(answer.device, /^GPU/);
    assert.deepEqual(answer.failures, [], answer.device);
    assert.equal(answer.checked, 2 * Object.keys(FAMILIES).length);
  });
}
