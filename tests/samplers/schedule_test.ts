import assert from "node:assert/strict";
import { test } from "node:test";
import {
  alphasCumprod,
  betas,
  karrasSigmas,
  roundHalfToEven,
  sigmasOf,
  spacedTimesteps,
} from "../../src/samplers/schedule.ts";
import { distance, golden } from "./goldens.ts";

const SD = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
} as const;

test("alphas are PyTorch's within 1e-6", () => {
  const schedules = {
    scaled_linear: SD,
    linear: { ...SD, beta_start: 0.0001, beta_end: 0.02, beta_schedule: "linear" },
    squaredcos_cap_v2: { ...SD, beta_schedule: "squaredcos_cap_v2" },
    zero_snr: { ...SD, rescale_betas_zero_snr: true },
  } as const;
  for (const [name, options] of Object.entries(schedules)) {
    const alphas = alphasCumprod(betas(options));
    const d = distance(alphas, golden(`alphas.${name}`));
    assert.ok(d <= 1e-6, `${name}: largest difference ${d}`);
  }
  assert.equal(alphasCumprod(betas(schedules.zero_snr))[999], 0);
});

test("betas may be given", () => {
  const given = [0.1, 0.2, 0.3];
  assert.deepEqual(betas({ ...SD, num_train_timesteps: 3, trained_betas: given }), Float32Array.from(given));
});

test("σ of a known α", () => {
  assert.deepEqual(sigmasOf(Float32Array.of(0.5, 0.2)), Float32Array.of(1, 2));
});

test("halves round to even, as numpy's do", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6, 999.5].map(roundHalfToEven), [0, 2, 2, 2, 3, 1000]);
});

test("spacings at five steps are those of arXiv 2305.08891, table 2", () => {
  const spaced = (spacing: "leading" | "trailing" | "linspace", offset = 0) =>
    spacedTimesteps(5, { trainSteps: 1000, spacing, offset });
  assert.deepEqual(spaced("leading"), [800, 600, 400, 200, 0]);
  assert.deepEqual(spaced("leading", 1), [801, 601, 401, 201, 1]);
  assert.deepEqual(spaced("trailing"), [999, 799, 599, 399, 199]);
  assert.deepEqual(spaced("linspace"), [999, 749, 500, 250, 0]);
});

test("Karras' levels run from the largest to the smallest", () => {
  const levels = karrasSigmas(7, { min: 0.03, max: 14.6 });
  assert.ok(Math.abs(levels[0] - 14.6) < 1e-12 && Math.abs(levels[6] - 0.03) < 1e-12);
  const roots = levels.map((s) => s ** (1 / 7));
  for (let i = 2; i < 7; i++) {
    assert.ok(Math.abs(roots[i] - 2 * roots[i - 1] + roots[i - 2]) < 1e-12);
  }
});
