/** The same seed, prompt and options give the picture that diffusers' pipelines give. tests/goldens/README.md makes the goldens. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { placeGpu } from "../../src/backend/webgpu/adapter.ts";
import { psnr } from "../../src/image/metrics.ts";
import { Engine } from "../../src/pipeline/engine.ts";
import type { GenerateOptions, Picture } from "../../src/pipeline/options.ts";
import { resolveRequest } from "../../src/pipeline/request.ts";
import { compare, type Goldens, path, readGoldens, toChannelsLast } from "../models/goldens.ts";
import { disguise, withGpu } from "../support/fake_gpu.ts";
import { GPU_TYPES } from "../support/gpu.ts";

interface Case {
  kind: "text_to_image" | "image_to_image" | "inpaint";
  prompt: string;
  negative_prompt: string;
  seed: number;
  height: number;
  width: number;
  steps: number;
  guidance_scale: number;
  strength?: number;
  steps_run: number;
}

/** How far a picture may be from diffusers': its largest difference, of 255, and its likeness in dB. */
interface Bounds {
  atMost: number;
  atLeast: number;
}

/** Float errors of about 1e-5 may round to the next byte: PyTorch's own f32 and f64 differ by 1 and 88 dB, ours by 1 and 85. */
const F32: Bounds = { atMost: 2, atLeast: 80 };

test("pictures of diffusers, from their seeds", async (t) => {
  const engine = await Engine.load(path("models/emoji"), { device: "cpu" });
  const g = await readGoldens("tests/goldens/emoji");
  try {
    for (const [name, c] of Object.entries(g.json.cases as Record<string, Case>)) {
      await t.test(name, () => compareWith(engine, g, { name, ...c }, F32));
    }
  } finally {
    await engine.dispose();
  }
});

/** Few steps: software drivers take a second for each, and SwiftShader, which Bun has, more. */
const ON_GPU = ["native_4", "image_3", "inpaint_4"];

for (const [type, { f16 }] of "Bun" in globalThis ? [] : Object.entries(GPU_TYPES)) {
  test(`pictures of diffusers, from their seeds, on ${type}`, async (t) => {
    const g = await readGoldens("tests/goldens/emoji");
    const half = JSON.parse(await readFile(path("tests/goldens/half_noise.json"), "utf8")).pictures;
    await withGpu(disguise(await placeGpu() as GPU, { f16 }).gpu, async () => {
      const engine = await Engine.load(path("models/emoji"), { device: "gpu" });
      try {
        assert.ok(engine.info.device.endsWith(f16 ? "f16" : "f32"), engine.info.device);
        for (const name of ON_GPU) {
          const bounds = f16 ? halfBounds(half[name]) : F32;
          await t.test(name, () => compareWith(engine, g, { name, ...g.json.cases[name] }, bounds));
        }
      } finally {
        await engine.dispose();
      }
    });
  });
}

test("latents of diffusers' latent consistency pipeline: its guidance is an input, not a second branch", async () => {
  const engine = await Engine.load(path("tests/goldens/lcm_small"), { device: "cpu" });
  const g = await readGoldens("tests/goldens/lcm_small/golden");
  const { prompt, guidance_scale: guidanceScale, steps, step_seed: seed, noise_floor } = g.json;
  const [, , h, w] = g.shape("steps.denoised");
  const { factor } = engine.info;
  try {
    const options = { prompt, width: w * factor, height: h * factor, steps, seed };
    const draw = async (guidanceScale: number) => {
      const request = resolveRequest({ ...options, guidanceScale }, {
        model: engine.info,
        patch: null,
        previews: true,
      });
      const timesteps: number[] = [];
      let latents = new Float32Array();
      const run = engine.run(request);
      let next = await run.next();
      for (; !next.done; next = await run.next()) {
        timesteps.push(next.value.timestep);
        latents = next.value.preview!.latents as Float32Array<ArrayBuffer>;
      }
      return { timesteps, latents, stats: next.value.stats };
    };
    assert.equal(engine.info.sampler, "lcm");
    const { timesteps, latents, stats } = await draw(guidanceScale);
    assert.deepEqual(timesteps, g.integers("steps.timesteps"));
    assert.equal(stats.ceiling, 1);
    const expected = toChannelsLast(g.f32("steps.denoised"), g.shape("steps.denoised"));
    // Ten times PyTorch's own distance from f64, which has the embedded guidance scale in f32 all the same.
    compare(latents, expected, {
      name: "denoised",
      atol: 10 * noise_floor["steps.denoised"].f32_f64,
      shape: [1, h, w, 4],
    });
    assert.notDeepEqual((await draw(3)).latents, latents);
  } finally {
    await engine.dispose();
  }
});

async function compareWith(
  engine: Engine,
  g: Goldens,
  c: Case & { name: string },
  { atMost, atLeast }: Bounds,
): Promise<void> {
  const options: GenerateOptions = {
    prompt: c.prompt,
    negativePrompt: c.negative_prompt,
    width: c.width,
    height: c.height,
    steps: c.steps,
    guidanceScale: c.guidance_scale,
    seed: c.seed,
  };
  if (c.kind !== "text_to_image") {
    options.image = rgba(g.bytes("image.init"), c);
    options.strength = c.strength;
  }
  if (c.kind === "inpaint") options.mask = rgba(g.bytes(maskName(g)), c);
  const run = engine.run(resolveRequest(options, { model: engine.info, patch: null, previews: false }));
  let next = await run.next(), calls = 0;
  for (; !next.done; next = await run.next()) calls++;
  assert.equal(calls, c.steps_run);
  const [picture] = next.value.pictures;
  const expected = rgba(g.bytes(`${c.name}.image`), c);
  let worst = 0;
  expected.data.forEach((v, i) => worst = Math.max(worst, Math.abs(v - picture.data[i])));
  const likeness = psnr(picture, expected);
  assert.ok(worst <= atMost, `a pixel differs by ${worst} of 255, expected at most ${atMost}`);
  assert.ok(likeness >= atLeast, `${likeness} dB, expected at least ${atLeast}`);
}

function maskName(g: Goldens): string {
  return ["inpaint.mask", "image.mask", "mask"].find((name) => name in g.json.tensors)!;
}

/** RGB or grey bytes → RGBA. */
function rgba(bytes: Uint8Array, { width, height }: { width: number; height: number }): Picture {
  const channels = bytes.length / (width * height);
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let p = 0; p < width * height; p++) {
    for (let k = 0; k < 3; k++) data[p * 4 + k] = bytes[p * channels + (channels === 3 ? k : 0)];
  }
  return { width, height, data };
}

/**
 * PyTorch's own f16 is 2, 1 and 1 of 255 and 58.2, 60.0 and 60.6 dB from these pictures. Ours was 2, 1 and 1, and
 * 59.0, 61.6 and 62.1 dB: it may be twice the first and a quarter more of the root mean square, 1.9 dB.
 */
function halfBounds({ max, rms }: { max: number; rms: number }): Bounds {
  return { atMost: 2 * max, atLeast: 20 * Math.log10(255 / (1.25 * rms)) };
}
