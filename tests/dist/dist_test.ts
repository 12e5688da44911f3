/**
 * Every way to use what `deno task build` writes draws the golden picture: from a URL in Deno and in a page, as a
 * package in Bun and Node. Strict kernels draw the same bytes everywhere. Deno runs this, since it builds.
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import * as esbuild from "esbuild";
import type { BrowserContext, Page } from "playwright-core";
import { psnr } from "../../src/image/metrics.ts";
import { decodePng } from "../../src/image/png.ts";
import { type GenerateOptions, loadPipeline } from "../../src/mod.ts";
import type { LoadOptions } from "../../src/pipeline/pipeline.ts";
import { assertSmall, build, sizes } from "../../tools/build.ts";
import { findChromium, startChromium } from "../browser/chromium.ts";
import { readGoldens } from "../models/goldens.ts";
import { missing } from "../support/missing.ts";
import {
  answerOf,
  buildPackage,
  drawingModule,
  drawingProgram,
  type Drawn,
  folderOf,
  type Place,
  run,
  serve,
} from "./places.ts";

const goldens = await readGoldens("tests/goldens/emoji");
const golden = goldens.json.cases.native_4;
const PICTURE = {
  prompt: golden.prompt,
  seed: golden.seed,
  steps: golden.steps,
  width: golden.width,
  height: golden.height,
  guidanceScale: golden.guidance_scale,
};
const CPU: LoadOptions = { device: "cpu", kernels: "strict", threads: 2 };

/** Runs once, when first asked for. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => made ??= make();
}

const clean: (() => Promise<unknown>)[] = [];
const folder = once(async () => {
  const path = await mkdtemp(join(tmpdir(), "tome-edge-dist-"));
  clean.unshift(() => rm(path, { recursive: true, force: true }));
  return path;
});
const root = async () => join(await folder(), "package");
const built = once(async () => await buildPackage(await root()));

/** Strict kernels' picture, drawn by the sources in this thread. */
async function drawHere(options: GenerateOptions): Promise<Uint8Array> {
  const pipe = await loadPipeline(undefined, { ...CPU, worker: false });
  const { images: [image] } = await pipe.generate(options);
  await pipe.dispose();
  return new Uint8Array(image.png());
}

const expected = once(() => drawHere(PICTURE));

function assertGolden(png: Uint8Array): void {
  const found = decodePng(png);
  const bytes = goldens.bytes("native_4.image"); // RGB
  const data = new Uint8ClampedArray(found.data.length).fill(255);
  let worst = 0;
  for (let i = 0; i < data.length; i++) {
    if (i % 4 < 3) data[i] = bytes[(i - i % 4) / 4 * 3 + i % 4];
    worst = Math.max(worst, Math.abs(data[i] - found.data[i]));
  }
  // As in tests/pipeline/diffusers_test.ts.
  const likeness = psnr(found, { ...found, data });
  assert.ok(worst <= 2 && likeness >= 80, `${worst} of 255, ${likeness} dB`);
}

const bytesOf = ({ png }: Drawn) => Uint8Array.from(atob(png), (c) => c.charCodeAt(0));

async function assertStrict(drawn: Drawn, threads: string): Promise<void> {
  assert.equal(drawn.device, `CPU, strict WebAssembly kernels, ${threads}`);
  assert.deepEqual(bytesOf(drawn), await expected());
}

if (!("Bun" in globalThis)) {
  after(async () => {
    for (const step of clean) await step();
  });

  test("what is built is small, whole and the same each time", async () => {
    const outputs = await built();
    assertSmall(sizes(outputs));
    assert.deepEqual((await build()).filter(({ contents }, i) => contents !== outputs[i].contents), []);
    for (const name of ["tome-edge", "tome"]) {
      const types = outputs.find((output) => output.name === `${name}.d.ts`)!.contents;
      assert.doesNotMatch(types, /^import |\bimport\(/m);
      const { metafile } = await esbuild.build({
        entryPoints: [join(await root(), "dist", `${name}.js`)],
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

  test("the sources draw the golden picture", async () => assertGolden(await expected()));

  const model = once(async () => {
    await built();
    const place = await serve(join(await root(), "dist"), () => ({ "access-control-allow-origin": "*" }));
    clean.unshift(() => place.close());
    return place;
  });

  test("Deno imports it from a URL, with no more permissions than that host", async () => {
    const { origin } = await model();
    const cwd = await folderOf(join(await folder(), "deno"), {
      "main.ts": drawingProgram(`${origin}/tome-edge.js`, CPU, PICTURE),
      "merge.ts": MERGE.replace("tome-edge/tome", `${origin}/tome.js`),
    });
    const { host } = new URL(origin);
    const deno = [
      process.execPath,
      "run",
      "--no-config",
      "--no-lock",
      "--no-prompt",
      `--allow-import=${host}`,
    ];
    const env = { DENO_DIR: join(cwd, "cache") };
    await assertStrict(
      answerOf(await run([...deno, `--allow-net=${host}`, "main.ts"], { cwd, env })),
      "2 threads",
    );
    // Types too; and merging, without a model, needs no permission but the import.
    assert.equal(await run([...deno, "--check", "merge.ts"], { cwd, env }), MERGED);
  });

  test("a bundler of others may lower and minify it", async () => {
    const { origin } = await model();
    const path = join(await folder(), "bundled");
    const cwd = await folderOf(path, {
      "in.js": drawingProgram("../package/dist/tome-edge.js", CPU, PICTURE),
    });
    await esbuild.build({
      entryPoints: [join(path, "in.js")],
      outfile: join(path, "out.mjs"),
      bundle: true,
      minify: true,
      format: "esm",
      // Vite's defaults, before its version 7.
      target: ["es2020", "edge88", "firefox78", "chrome87", "safari14"],
      supported: { destructuring: true },
    });
    await esbuild.stop();
    const program = (await readFile(join(path, "out.mjs"), "utf8")).replace(
      "import.meta.url",
      JSON.stringify(`${origin}/out.js`),
    );
    await folderOf(path, { "out.mjs": program });
    const args = ["run", "--no-config", "--no-lock", "--no-prompt", `--allow-net=${new URL(origin).host}`];
    await assertStrict(answerOf(await run([process.execPath, ...args, "out.mjs"], { cwd })), "2 threads");
  });

  const path = await findChromium();
  if (!path) {
    test("a page imports it from another origin", () =>
      missing("the bundle in a page, for want of Chromium"));
  } else {
    const browser = once(async () => {
      const { context, close } = await startChromium(path);
      clean.unshift(close);
      return context;
    });

    test("a page imports it from another origin: one thread, and it says so", async () => {
      const drawn = await drawInPage(await browser(), await model(), { isolated: false, load: CPU });
      await assertStrict(drawn, "1 thread (no shared memory here)");
    });

    test("an isolated page has threads", async () => {
      const drawn = await drawInPage(await browser(), await model(), { isolated: true, load: CPU });
      await assertStrict(drawn, "2 threads");
    });

    test("so has a Web Worker of it", async () => {
      const drawn = await drawInPage(await browser(), await model(), {
        isolated: true,
        load: CPU,
        inWorker: true,
      });
      await assertStrict(drawn, "2 threads");
    });

    test("a page draws on the GPU what strict kernels draw", async () => {
      // Smaller than the golden: SwiftShader takes half a second to compile a kernel.
      const small = { ...PICTURE, width: 64, height: 64, steps: 2 };
      const load: LoadOptions = { device: "gpu" };
      const drawn = await drawInPage(await browser(), await model(), {
        isolated: false,
        load,
        picture: small,
      });
      assert.match(drawn.device, /^GPU/);
      const found = decodePng(bytesOf(drawn)), wanted = decodePng(await drawHere(small));
      assert.ok(found.data.every((v, i) => Math.abs(v - wanted.data[i]) <= 2), drawn.device);
    });
  }
}

/** Merges and unmerges on the CPU, and prints how many tokens there are. */
const MERGE = `
import { bipartiteSoftMatchingRandom2d, createBackend } from "tome-edge/tome";
const backend = await createBackend("cpu", { threads: 1 });
const x = Float32Array.from({ length: 64 * 8 }, (_, i) => Math.sin(i));
const plan = await bipartiteSoftMatchingRandom2d(backend, x, {
  batch: 1, width: 8, height: 8, channels: 8, r: 32, noRand: true,
});
const merged: Float32Array = await plan.merge(x, 8);
const restored: Float32Array = await plan.unmerge(merged, 8);
console.log(merged.length / 8, restored.length / 8);
await backend.dispose();
`;
const MERGED = "32 64\n";

/** In a page of an origin of its own, whose policy allows what the README says and nothing else. */
async function drawInPage(
  context: BrowserContext,
  { origin }: Place,
  { isolated, load, picture = PICTURE, inWorker = false }: {
    isolated: boolean;
    load: LoadOptions;
    picture?: GenerateOptions;
    inWorker?: boolean;
  },
): Promise<Drawn> {
  const policy = [
    "default-src 'none'",
    `script-src 'self' ${origin} 'wasm-unsafe-eval'`,
    // A worker's own imports count as workers.
    inWorker ? `worker-src 'self' ${origin} blob:` : "worker-src blob:",
    `connect-src ${origin}`,
  ].join("; ");
  const isolation = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  };
  const draw = drawingModule(`${origin}/tome-edge.js`);
  const place = await serve({
    "/":
      "<!doctype html><meta charset=utf-8><title>tome-edge</title><script type=module src=/page.js></script>",
    "/page.js": `${draw}\nglobalThis.draw = draw;`,
    "/worker.js": `${draw}\nonmessage = async ({ data }) =>
      postMessage(await draw(...data).catch((error) => ({ device: String(error), png: "" })));`,
  }, () => ({ "content-security-policy": policy, ...isolated && isolation }));
  let page: Page | undefined;
  try {
    page = await context.newPage();
    const errors: string[] = [];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.goto(place.origin);
    const drawn = await page.evaluate(async ([load, picture, inWorker]) => {
      if (!inWorker) {
        const { draw } = globalThis as unknown as { draw(...args: unknown[]): Promise<Drawn> };
        return await draw(load, picture);
      }
      const worker = new Worker("/worker.js", { type: "module" });
      return await new Promise<Drawn>((resolve, reject) => {
        worker.onerror = (event) => reject(new Error(event.message));
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage([load, picture]);
      });
    }, [load, picture, inWorker] as const);
    assert.deepEqual(errors, []);
    return drawn;
  } finally {
    await page?.close();
    await place.close();
  }
}
