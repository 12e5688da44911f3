/** Pictures drawn on the GPU: close to the CPU's in both precisions, and without WebAssembly. */
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

const PLAIN = { prompt: "a 3d icon of a red apple", seed: 1, steps: 4, width: 64, height: 64 };
const MERGED = { ...PLAIN, tokenMerging: { ratio: 0.5 } };

/**
 * In f32 a value near the middle of two bytes may become the other one. In f16 this picture's bytes were 2 apart at
 * most (60 dB); merged, where a rounded metric may choose another of two tokens nearly alike, 9 (43 dB).
 */
const HALF = [{ atMost: 4, atLeast: 54 }, { atMost: 24, atLeast: 36 }];

async function draw(device: "cpu" | "gpu", options: GenerateOptions[]): Promise<Picture[]> {
  const engine = await Engine.load(path("models/emoji"), { device, threads: 1 });
  try {
    const pictures: Picture[] = [];
    for (const o of options) {
      const run = engine.run(resolveRequest(o, { model: engine.info, patch: null, previews: false }));
      let next = await run.next();
      while (!next.done) next = await run.next();
      pictures.push(next.value.pictures[0]);
    }
    return pictures;
  } finally {
    await engine.dispose();
  }
}

for (const [name, { f16 }] of Object.entries(GPU_TYPES)) {
  test(`pictures are the CPU's, ${name}`, async () => {
    const expected = await draw("cpu", [PLAIN, MERGED]);
    const { gpu } = disguise(await placeGpu() as GPU, { f16 });
    const found = await withGpu(gpu, () => draw("gpu", [PLAIN, MERGED]));
    for (const [i, options] of [PLAIN, MERGED].entries()) {
      let worst = 0;
      expected[i].data.forEach((v, at) => worst = Math.max(worst, Math.abs(v - found[i].data[at])));
      const likeness = psnr(expected[i], found[i]);
      const { atMost, atLeast } = f16 ? HALF[i] : { atMost: 1, atLeast: 60 };
      assert.ok(worst <= atMost, `a pixel differs by ${worst} of 255, ${JSON.stringify(options)}`);
      assert.ok(likeness >= atLeast, `${likeness} dB, ${JSON.stringify(options)}`);
    }
  });
}

if (Object.keys(GPU_TYPES).length) {
  test("the GPU draws where there is no WebAssembly", async () => {
    const script = fileURLToPath(new URL("./no_wasm.ts", import.meta.url));
    const args = "Deno" in globalThis ? ["run", "-A", "--no-check", script] : [script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 300_000 });
    assert.match(stdout, /^drawn on GPU, .*: 64×64$/m);
  });
}
