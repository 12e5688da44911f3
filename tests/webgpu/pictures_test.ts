/** Pictures drawn on the GPU with merging: close to the CPU's in both precisions, and without WebAssembly. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { promisify } from "node:util";
import { placeGpu } from "../../src/backend/webgpu/adapter.ts";
import { Engine } from "../../src/pipeline/engine.ts";
import type { GenerateOptions, Picture } from "../../src/pipeline/options.ts";
import { resolveRequest } from "../../src/pipeline/request.ts";
import { psnr } from "../../src/image/metrics.ts";
import { path } from "../models/goldens.ts";
import { disguise, withGpu } from "../support/fake_gpu.ts";
import { GPU_TYPES } from "../support/gpu.ts";

/** SwiftShader, which Bun has, is slow. */
const [side, steps] = "Bun" in globalThis ? [32, 2] : [64, 4];
const MERGED = {
  prompt: "a 3d icon of a red apple",
  seed: 1,
  steps,
  width: side,
  height: side,
  tokenMerging: { ratio: 0.5 },
};

/**
 * Of bytes, and in dB. In f32 a value near the middle of two bytes may become the other one. In f16, where a rounded
 * metric may choose another of two tokens nearly alike, this picture's bytes were 9 apart at most (43 dB); without
 * merging pictures are close to diffusers', in `tests/pipeline/diffusers_test.ts`.
 */
const FULL = { atMost: 1, atLeast: 60 }, HALF = { atMost: 24, atLeast: 36 };

async function draw(device: "cpu" | "gpu", options: GenerateOptions): Promise<Picture> {
  const engine = await Engine.load(path("models/emoji"), { device, threads: 1 });
  try {
    const run = engine.run(resolveRequest(options, { model: engine.info, patch: null, previews: false }));
    let next = await run.next();
    while (!next.done) next = await run.next();
    return next.value.pictures[0];
  } finally {
    await engine.dispose();
  }
}

for (const [name, { f16 }] of Object.entries(GPU_TYPES)) {
  test(`a picture with merging is the CPU's, ${name}`, async () => {
    const expected = await draw("cpu", MERGED);
    const { gpu } = disguise(await placeGpu() as GPU, { f16 });
    const found = await withGpu(gpu, () => draw("gpu", MERGED));
    let worst = 0;
    expected.data.forEach((v, at) => worst = Math.max(worst, Math.abs(v - found.data[at])));
    const likeness = psnr(expected, found);
    const { atMost, atLeast } = f16 ? HALF : FULL;
    assert.ok(worst <= atMost, `a pixel differs by ${worst} of 255`);
    assert.ok(likeness >= atLeast, `${likeness} dB`);
  });
}

if (Object.keys(GPU_TYPES).length) {
  test("the GPU draws where there is no WebAssembly", async () => {
    const script = fileURLToPath(new URL("./no_wasm.ts", import.meta.url));
    const args = "Deno" in globalThis ? ["run", "-A", "--no-check", script] : [script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 300_000 });
    assert.match(stdout, /^drawn on GPU, .*: 32×32$/m);
  });
}
