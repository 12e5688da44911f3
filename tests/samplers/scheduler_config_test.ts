import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckpointError } from "../../src/errors.ts";
import {
  parseSchedulerConfig,
  readSchedulerConfig,
  samplerOfConfig,
} from "../../src/samplers/scheduler_config.ts";

/** Every field, at a value that is fine. */
const FULL: Record<string, unknown> = {
  _class_name: "DPMSolverMultistepScheduler",
  _diffusers_version: "0.42.1",
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  trained_betas: null,
  rescale_betas_zero_snr: false,
  prediction_type: "epsilon",
  timestep_spacing: "leading",
  steps_offset: 1,
  timestep_type: "discrete",
  original_inference_steps: 50,
  timestep_scaling: 10,
  interpolation_type: "linear",
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  use_lu_lambdas: false,
  use_flow_sigmas: false,
  flow_shift: 1,
  use_dynamic_shifting: false,
  time_shift_type: "exponential",
  sigma_min: null,
  sigma_max: null,
  final_sigmas_type: "zero",
  lambda_min_clipped: -5.1,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  solver_order: 2,
  solver_type: "midpoint",
  algorithm_type: "dpmsolver++",
  lower_order_final: true,
  euler_at_final: false,
  variance_type: null,
  clip_sample: false,
  clip_sample_range: 1,
  thresholding: false,
  dynamic_thresholding_ratio: 0.995,
  sample_max_value: 1,
};

test("a configuration with every field at a supported value is read as it stands", () => {
  assert.deepEqual(parseSchedulerConfig(FULL), FULL);
});

test("every field, mutated, is an error that names it", () => {
  const onlyBoolean = { use: [true, "false", 0] };
  const bad: Record<string, unknown[]> = {
    _class_name: ["UniPCMultistepScheduler", 1, undefined],
    num_train_timesteps: [0, 1.5, "1000", NaN, 1e9],
    steps_offset: [-1, 0.5, "1"],
    beta_start: [0, 1, -1, NaN, "x"],
    beta_end: [0, 1, Infinity],
    trained_betas: [[2], "x", [0.1, null]],
    clip_sample: onlyBoolean.use,
    thresholding: onlyBoolean.use,
    use_exponential_sigmas: onlyBoolean.use,
    use_beta_sigmas: onlyBoolean.use,
    use_lu_lambdas: onlyBoolean.use,
    use_flow_sigmas: onlyBoolean.use,
    use_dynamic_shifting: onlyBoolean.use,
    algorithm_type: ["dpmsolver", "sde-dpmsolver++"],
    solver_order: [1, 3],
    solver_type: ["heun"],
    variance_type: ["learned_range"],
    sigma_min: [0.1],
    sigma_max: [10],
    timestep_type: ["continuous"],
    interpolation_type: ["log_linear"],
    prediction_type: ["flow_prediction"],
    beta_schedule: ["sigmoid"],
    original_inference_steps: [0, 2.5],
    timestep_scaling: [0],
  };
  for (const field of Object.keys(FULL)) {
    for (const value of [...(bad[field] ?? []), { nested: 1 }]) {
      assert.throws(() => parseSchedulerConfig({ ...FULL, [field]: value }), (error: Error) => {
        assert.ok(error instanceof CheckpointError);
        assert.match(error.message, new RegExp(`^Cannot use "${field}[".].*: expected .*found `));
        return true;
      }, `${field} = ${JSON.stringify(value)}`);
    }
  }
  for (const field of Object.keys(bad)) assert.ok(field in FULL);
});

test("an unknown field is an error that names it", () => {
  assert.throws(
    () => parseSchedulerConfig({ ...FULL, shift: 3 }, "model/scheduler/scheduler_config.json"),
    /Cannot use "shift" of "model\/scheduler\/scheduler_config.json": expected a field .* found 3/,
  );
});

test("what is no object is refused", () => {
  for (const value of [null, 3, "x", [], undefined]) {
    assert.throws(() => parseSchedulerConfig(value), /expected an object/);
  }
});

test("given betas must be as many as timesteps", () => {
  assert.throws(
    () => parseSchedulerConfig({ ...FULL, trained_betas: [0.1, 0.2] }),
    /"trained_betas".*1000 numbers.*found 2/,
  );
  const three = { ...FULL, num_train_timesteps: 3, trained_betas: [0.1, 0.2, 0.3] };
  assert.deepEqual(parseSchedulerConfig(three).trained_betas, [0.1, 0.2, 0.3]);
});

test("Python's -Infinity is read, and left alone inside strings", () => {
  const config = readSchedulerConfig(
    '{"_class_name": "DDIMScheduler", "lambda_min_clipped": -Infinity, "_diffusers_version": "\\"-Infinity"}',
  );
  assert.equal(config.lambda_min_clipped, -Infinity);
  assert.equal(config._diffusers_version, '"-Infinity');
});

test("text that is no JSON is refused", () => {
  const unclosed = '"' + '\\"'.repeat(1 << 20);
  for (const text of ["", "{", '{"a": NaN}', '{"a": Infinity}', '{"a": "-Infinity}', unclosed]) {
    assert.throws(() => readSchedulerConfig(text), (error: Error) => {
      return error instanceof CheckpointError && /expected JSON/.test(error.message);
    });
  }
});

test("a configuration's own sampler", () => {
  const of = (fields: object) => samplerOfConfig(parseSchedulerConfig({ ...FULL, ...fields }));
  assert.equal(of({}), "dpm++_2m");
  assert.equal(of({ use_karras_sigmas: true }), "dpm++_2m_karras");
  assert.equal(of({ _class_name: "PNDMScheduler" }), "pndm");
  assert.equal(of({ _class_name: "DDIMScheduler" }), "ddim");
  assert.equal(of({ _class_name: "EulerDiscreteScheduler" }), "euler");
  assert.equal(of({ _class_name: "EulerAncestralDiscreteScheduler" }), "euler_a");
  assert.equal(of({ _class_name: "LCMScheduler" }), "lcm");
});
