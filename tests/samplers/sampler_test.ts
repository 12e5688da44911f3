import assert from "node:assert/strict";
import { test } from "node:test";
import type { Term } from "../../src/samplers/contract.ts";
import {
  createSampler,
  resolveSamplerName,
  type SamplerName,
  samplerNames,
  type SamplerOptions,
} from "../../src/samplers/sampler.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "../../src/samplers/scheduler_config.ts";
import {
  distance,
  fnv,
  golden,
  type GoldenRun,
  has,
  imageRuns,
  largest,
  lincomb,
  N,
  network,
  noise,
  runs,
  sample,
  samplerOf,
  timestepHashes,
} from "./goldens.ts";

const SD = {
  _class_name: "DDIMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
  skip_prk_steps: true,
  set_alpha_to_one: false,
};
const config = parseSchedulerConfig(SD);

/**
 * Of the largest number in a trajectory. diffusers rounds every operation to f32, ours only results, and 50 steps of
 * rounding (2^-24 each) leave 6e-7 at most in these runs.
 */
const TOLERANCE = 2e-6;

const title = (run: GoldenRun) => `${run.sampler} ${run.steps} steps ${JSON.stringify(run.config)}`;

for (const name of samplerNames) {
  test(`${name} takes diffusers' steps`, () => {
    const mine = runs.map((run, key) => ({ run, key })).filter(({ run }) => run.sampler === name);
    assert.ok(mine.length >= 6);
    for (const { run, key } of mine) {
      const sampler = samplerOf(run);
      // Karras timesteps of Euler are interpolated in f32 logarithms: an ulp of f32.
      const fractional = name === "euler" && run.config.use_karras_sigmas ? 6.2e-5 : 0;
      const dt = distance(sampler.timesteps, golden(`${key}.timesteps`));
      assert.ok(dt <= fractional, `${title(run)}: timesteps differ by ${dt}`);
      assert.ok(Math.abs(sampler.initNoiseSigma / run.init - 1) < 1e-6, title(run));

      const { x, denoised } = sample(sampler);
      const expected = golden(`${key}.x`);
      const scale = largest(expected);
      run.kept.forEach((step, i) => {
        const d = distance(x[step], expected.subarray(i * N, (i + 1) * N));
        assert.ok(
          d <= TOLERANCE * scale,
          `${title(run)}: x of step ${step} differs by ${d}, largest ${scale}`,
        );
      });
      if (has(`${key}.denoised`)) {
        const d = distance(denoised.flatMap((x0) => [...x0]), golden(`${key}.denoised`));
        assert.ok(d <= TOLERANCE * scale, `${title(run)}: x_0 differs by ${d}, largest ${scale}`);
      }
      if (has(`${key}.sigmas`)) {
        const sigmas = sampler.timesteps.map((_, i) => sampler.addNoise(i)[1] / sampler.addNoise(i)[0]);
        const theirs = golden(`${key}.sigmas`).subarray(0, sigmas.length);
        sigmas.forEach((s, i) => assert.ok(Math.abs(s / theirs[i] - 1) < 1e-6, `${title(run)}: σ ${i}`));
      }
    }
  });
}

test("timesteps are diffusers' for 1 to 300 steps in every spacing", () => {
  assert.equal(Object.keys(timestepHashes).length, 12);
  for (const [key, expected] of Object.entries(timestepHashes)) {
    const [name, spacing] = key.split(" ");
    const config = parseSchedulerConfig({ ...SD, steps_offset: 0, timestep_spacing: spacing });
    let hash = fnv(new Uint8Array());
    for (let steps = 1; steps <= 300; steps++) {
      const { timesteps } = createSampler(name, config, { steps });
      // There numpy.arange rounds to one element more; see spacedTimesteps.
      const excess = spacing === "trailing" && Math.ceil(1000 / (1000 / steps)) > steps;
      if (!excess) hash = fnv(new Uint8Array(Float32Array.from(timesteps).buffer), hash);
      assert.ok(Math.min(...timesteps) >= 0);
    }
    assert.equal(hash, expected, key);
  }
});

test("a network that knows the answer is followed to it by every sampler", () => {
  const answer = noise(77), epsilon = noise(78);
  for (const name of samplerNames) {
    for (const prediction_type of ["epsilon", "v_prediction"]) {
      const sampler = createSampler(name, parseSchedulerConfig({ ...SD, prediction_type }), { steps: 20 });
      const [a, b] = sampler.addNoise(0);
      // In the variance-preserving scale, x = √ᾱ·x_0 + √(1 − ᾱ)·ε and v = √ᾱ·ε − √(1 − ᾱ)·x_0.
      const norm = Math.hypot(a, b);
      const modelOutput = prediction_type === "epsilon"
        ? epsilon
        : lincomb([[a / norm, epsilon], [-b / norm, answer]]);
      const x = lincomb([[a, answer], [b, epsilon]]);
      const step = sampler.step(lincomb, { index: 0, x, modelOutput, noise: noise(1) });
      assert.ok(distance(step.denoised, answer) < 2e-5, `${name} ${prediction_type}`);
    }
  }
});

test("a run continues its history and never mixes tensors of another run", () => {
  for (const name of samplerNames) {
    const sampler = createSampler(name, config, { steps: 8 });
    const one = sample(sampler), image = sample(sampler, { image: noise(4) }), again = sample(sampler);
    assert.deepEqual(again, one, name);
    assert.ok(distance(one.x[3], image.x[3]) > 0.01);
  }
});

test("history and terms keep to what the contract promises", () => {
  type Named = { id: number };
  for (const name of samplerNames) {
    for (const skip_prk_steps of [true, false]) {
      const sampler = createSampler(name, parseSchedulerConfig({ ...SD, skip_prk_steps }), { steps: 12 });
      let count = 0;
      let alive: Named[] = [];
      const known = (t: Named) =>
        assert.ok(alive.includes(t), `${name}: a tensor that the caller may have freed`);
      const combine = (terms: readonly Term<Named>[]) => {
        assert.ok(terms.length > 0);
        assert.equal(new Set(terms.map(([, t]) => t)).size, terms.length);
        terms.forEach(([c, t]) => (assert.ok(Number.isFinite(c)), known(t)));
        const made = { id: count++ };
        alive.push(made);
        return made;
      };
      let x: Named = { id: count++ };
      let history: readonly Named[] = [];
      sampler.timesteps.forEach((_, index) => {
        const modelOutput = { id: count++ }, fresh = { id: count++ };
        alive = [x, modelOutput, ...history, ...(sampler.noisePerStep(index) ? [fresh] : [])];
        const step = sampler.step(combine, { index, x, modelOutput, noise: fresh, history });
        [step.x, step.denoised, ...step.history].forEach(known);
        const last = index === sampler.timesteps.length - 1;
        if (!last) assert.ok(step.history.length >= sampler.historyLength(index + 1));
        assert.ok(step.history.length <= 6);
        ({ x, history } = step);
      });
    }
  }
});

for (const name of samplerNames) {
  test(`${name} takes diffusers' steps from an image and around a mask, at every strength`, () => {
    const mine = imageRuns.map((run, key) => ({ run, key })).filter(({ run }) => run.sampler === name);
    assert.ok(mine.length >= 12);
    for (const { run, key } of mine) {
      const { steps, strength } = run;
      const title = `${name} ${steps} steps, strength ${strength}, ${JSON.stringify(run.config)}`;
      const sampler = createSampler(name, parseSchedulerConfig(run.config), { steps, strength });
      assert.equal(sampler.timesteps.length, run.calls, title);
      assert.deepEqual(sampler.addNoise(run.calls), [1, 0]);
      const image = noise(1000), expected = golden("image").subarray(key * 4 * N, (key + 1) * 4 * N);
      const whole = sample(sampler, { image }).x;
      const painted = sample(sampler, { image: strength < 1 ? image : undefined, kept: image }).x;
      [whole[0], whole[run.calls], painted[0], painted[run.calls]].forEach((x, i) => {
        const theirs = expected.subarray(i * N, (i + 1) * N);
        const d = distance(x, theirs), scale = Math.max(1, largest(theirs));
        const which = `${i < 2 ? "image to image" : "inpainting"}, ${i % 2 ? "last" : "first"} x`;
        assert.ok(d <= TOLERANCE * scale, `${title}: ${which} differs by ${d}, largest ${scale}`);
      });
    }
  });
}

test("image to image takes the last steps, and noise as at their first", () => {
  for (const name of samplerNames) {
    const full = createSampler(name, config, { steps: 10 });
    for (const [strength, kept] of [[0.3, 3], [0.75, 7], [0.7, 7], [0.1, 1], [1, 10]]) {
      const part = createSampler(name, config, { steps: 10, strength });
      const calls = kept + (name === "pndm" ? 1 : 0); // of diffusers' list, which repeats a timestep
      assert.deepEqual(part.timesteps, full.timesteps.slice(-calls), `${name} ${strength}`);
      assert.deepEqual(part.addNoise(0), full.addNoise(full.timesteps.length - calls));
      assert.equal(part.noisePerStep(part.timesteps.length - 1), false);
    }
  }
});

test("noise is asked for where it is used, and nowhere else", () => {
  const counts: Record<SamplerName, number> = {
    ddim: 0,
    pndm: 0,
    euler: 0,
    euler_a: 9,
    "dpm++_2m": 0,
    "dpm++_2m_karras": 0,
    lcm: 9,
  };
  for (const name of samplerNames) {
    const sampler = createSampler(name, config, { steps: 10 });
    const asked = sampler.timesteps.filter((_, index) => sampler.noisePerStep(index)).length;
    assert.equal(asked, counts[name], name);
  }
  const random = createSampler("ddim", config, { steps: 10, eta: 1 });
  assert.ok(random.timesteps.every((_, index) => random.noisePerStep(index)));
});

test("inputs are scaled for Euler only", () => {
  const euler = createSampler("euler", config, { steps: 10 });
  const sigma = euler.addNoise(0)[1];
  assert.ok(Math.abs(euler.scaleInput(0) - 1 / Math.sqrt(sigma * sigma + 1)) < 1e-12);
  for (const name of ["ddim", "pndm", "dpm++_2m", "lcm"]) {
    assert.equal(createSampler(name, config, { steps: 10 }).scaleInput(3), 1);
  }
  assert.equal(network(noise(0), 0).length, N);
});

test("a step without its noise or history, or beyond the run, is refused", () => {
  const step = (name: string, input: { index: number; history?: Float32Array[] }, settings = config) => () =>
    createSampler(name, settings, { steps: 10 }).step(lincomb, {
      x: noise(1),
      modelOutput: noise(2),
      ...input,
    });
  for (const name of samplerNames) {
    for (const index of [-1, 0.5, NaN, 11]) {
      assert.throws(step(name, { index }), { name: "RangeError", message: /expected an index of 0 to/ });
    }
  }
  for (const name of ["euler_a", "lcm"]) {
    assert.throws(step(name, { index: 2 }), { name: "TypeError", message: /step 2 of .* expected noise/ });
  }
  assert.throws(step("dpm++_2m", { index: 1 }), { name: "TypeError", message: /history of 1, found 0/ });
  assert.throws(step("pndm", { index: 4, history: [noise(3)] }), /history of 3, found 1/);
  const prk = parseSchedulerConfig({ ...SD, skip_prk_steps: false });
  assert.throws(step("pndm", { index: 11, history: [noise(3)] }, prk), /history of 6, found 1/);
});

test("aliases name the same samplers", () => {
  const aliases: Record<string, SamplerName> = {
    plms: "pndm",
    PLMS: "pndm",
    "Euler a": "euler_a",
    "euler-ancestral": "euler_a",
    k_euler: "euler",
    Euler: "euler",
    "DPM++ 2M": "dpm++_2m",
    "DPM++ 2M Karras": "dpm++_2m_karras",
    "dpmpp_2m_karras": "dpm++_2m_karras",
    LCM: "lcm",
    DDIM: "ddim",
  };
  for (const [alias, name] of Object.entries(aliases)) assert.equal(resolveSamplerName(alias), name);
  for (const name of samplerNames) assert.equal(resolveSamplerName(name), name);
});

function refusal(name: string, options: SamplerOptions, settings: SchedulerConfig = config): Error {
  let error: unknown;
  assert.throws(() => createSampler(name, settings, options), (e) => (error = e, true));
  return error as Error;
}

test("an unknown sampler is refused with the list of names", () => {
  for (const name of ["heun", "", "toString", "__proto__"]) {
    const error = refusal(name, { steps: 5 });
    assert.equal(error.name, "RangeError");
    for (const known of samplerNames) assert.ok(error.message.includes(known));
    assert.ok(error.message.includes(JSON.stringify(name)));
  }
  assert.equal(refusal(undefined as unknown as string, { steps: 5 }).name, "TypeError");
});

test("numbers out of range are refused by name", () => {
  for (const name of samplerNames) {
    for (const steps of [0, -1, NaN, 1001, 2.5, Infinity]) {
      const error = refusal(name, { steps });
      assert.equal(error.name, "RangeError");
      assert.ok(error.message.includes(`${steps} steps`) && error.message.includes("integer of 1 to"));
    }
    assert.equal(refusal(name, { steps: "20" as unknown as number }).name, "TypeError");
    for (const strength of [0, -0.5, 1.01, NaN]) {
      const error = refusal(name, { steps: 10, strength });
      assert.ok(error instanceof RangeError && error.message.includes(`strength ${strength}`));
    }
    assert.match(refusal(name, { steps: 10, strength: 0.05 }).message, /strength 0.05.*at least 1 \/ 10/);
    for (const eta of [-0.1, 1.1, NaN]) {
      assert.match(refusal(name, { steps: 10, eta }).message, /eta/);
    }
    if (name !== "ddim") assert.match(refusal(name, { steps: 10, eta: 0.5 }).message, /only ddim/);
  }
  assert.match(refusal("lcm", { steps: 51 }).message, /1 to 50 \(the model's original_inference_steps\)/);
  assert.match(refusal("ddim", { steps: 1000 }).message, /timestep 1000: expected 0 to 999/);
  assert.match(refusal("dpm++_2m", { steps: 1000 }).message, /expected fewer steps/);
});

test("what a sampler cannot do with a schedule is refused by name", () => {
  const prk = parseSchedulerConfig({ ...SD, skip_prk_steps: false });
  assert.match(refusal("pndm", { steps: 3 }, prk).message, /at least 4 steps/);
  assert.match(
    refusal("pndm", { steps: 5 }, parseSchedulerConfig({ ...SD, prediction_type: "sample" })).message,
    /prediction_type/,
  );
  const zero = parseSchedulerConfig({
    ...SD,
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
  });
  assert.match(refusal("ddim", { steps: 5 }, zero).message, /timestep 999.*v_prediction/);
  assert.match(refusal("pndm", { steps: 5 }, zero).message, /rescale_betas_zero_snr/);
});
