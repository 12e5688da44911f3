/**
 * Every way to use what `deno task build` writes draws the golden picture: from a URL in Deno and in a page, as a
 * package in Bun and Node. Strict kernels draw the same bytes everywhere. Called by `dist_test.ts`.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import * as esbuild from "esbuild";
import type { DeviceName } from "../../src/backend/mod.ts";
import { assertSmall, build, sizes } from "../../tools/build.ts";
import { inRoot } from "../../tools/build/plugins.ts";
import { hasGpu } from "../support/gpu.ts";
import { answerOf, assertDrawn, drawingProgram } from "./golden.ts";
import { testPackage } from "./package.ts";
import { testPages } from "./pages.ts";
import { builtPackage, folderOf, run, servedDist, undoAll } from "./places.ts";

/** Merges and unmerges, and prints how many tokens there are then. */
const merging = (specifier: string, device: DeviceName) => `
import { bipartiteSoftMatchingRandom2d, createBackend } from "${specifier}";
const backend = await createBackend("${device}", { threads: 1 });
const x = Float32Array.from({ length: 64 * 8 }, (_, i) => Math.sin(i));
const plan = await bipartiteSoftMatchingRandom2d(backend, x, {
  batch: 1, width: 8, height: 8, channels: 8, r: 32, noRand: true,
});
const merged: Float32Array = await plan.merge(x, 8);
const restored: Float32Array = await plan.unmerge(merged, 8);
console.log(merged.length / 8, restored.length / 8);
await backend.dispose();
`;

const DENO = [process.execPath, "run", "--no-config", "--no-lock", "--no-prompt"];

export function testWays(): void {
  after(undoAll);

  test("what is built is small, imports nothing, and is the same each time", async () => {
    const { path, outputs } = await builtPackage();
    assertSmall(sizes(outputs));
    const again = await build();
    assert.deepEqual(again.map(({ name }) => name), outputs.map(({ name }) => name));
    assert.deepEqual(again.filter(({ contents }, i) => contents !== outputs[i].contents), []);
    for (const { name, contents } of outputs) {
      assert.ok(!contents.includes(inRoot(".")), `${name} knows where it was built`);
    }
    for (const name of ["tome-edge", "tome"]) {
      const types = outputs.find((output) => output.name === `${name}.d.ts`)!.contents;
      assert.doesNotMatch(types, /^import |\bimport\(/m);
      const { metafile } = await esbuild.build({
        entryPoints: [join(path, "dist", `${name}.js`)],
        bundle: true,
        write: false,
        format: "esm",
        metafile: true,
        logLevel: "silent",
      });
      assert.deepEqual(Object.values(metafile.inputs).flatMap(({ imports }) => imports), []);
    }
    await esbuild.stop();
  });

  test("Deno draws with what it imports from a URL, with no permissions but for that host", async () => {
    const { origin } = await servedDist();
    const cwd = await folderOf("deno", {
      "draw.js": drawingProgram(`${origin}/tome-edge.js`),
      "cpu.ts": `import { EMBEDDED_MODEL } from "${origin}/tome-edge.js";
        if (EMBEDDED_MODEL.href !== "${origin}/models/emoji/") throw new Error(EMBEDDED_MODEL.href);
        ${merging(`${origin}/tome.js`, "cpu")}`,
      "gpu.ts": merging(`${origin}/tome.js`, "gpu"),
    });
    const { host } = new URL(origin);
    const env = { DENO_DIR: join(cwd, "cache") };
    const args = [...DENO, `--allow-import=${host}`];
    await assertDrawn(
      answerOf(await run([...args, `--allow-net=${host}`, "draw.js"], { cwd, env })),
      "2 threads",
    );
    // Importing and merging need nothing more than the import; the types come along.
    assert.equal(await run([...args, "--check", "cpu.ts"], { cwd, env }), "32 64\n");
    if (hasGpu) assert.equal(await run([...args, "gpu.ts"], { cwd, env }), "32 64\n");
  });

  test("it still draws when a bundler of others has lowered and minified it", async () => {
    const { origin } = await servedDist();
    const { path } = await builtPackage();
    const cwd = await folderOf("bundled", {
      "in.js": drawingProgram(join(path, "dist/tome-edge.js")),
    });
    await esbuild.build({
      entryPoints: [join(cwd, "in.js")],
      outfile: join(cwd, "out.mjs"),
      bundle: true,
      minify: true,
      format: "esm",
      // Vite's defaults, before its version 7.
      target: ["es2020", "edge88", "firefox78", "chrome87", "safari14"],
      supported: { destructuring: true },
    });
    await esbuild.stop();
    // As if it came from the server.
    const text = await readFile(join(cwd, "out.mjs"), "utf8");
    await folderOf("bundled", {
      "out.mjs": text.replace("import.meta.url", JSON.stringify(`${origin}/out.mjs`)),
    });
    const args = [...DENO, `--allow-net=${new URL(origin).host}`];
    await assertDrawn(answerOf(await run([...args, "out.mjs"], { cwd })), "2 threads");
  });

  testPackage();
  testPages();
}
