/**
 * `scheduler_config.json` of a diffusers folder.
 *
 * A value that these samplers cannot honour is an error that names it; a field at the value where it does nothing is
 * fine. A field that is absent stays absent, since its default differs from sampler to sampler (`timestep_spacing` is
 * "leading" for DDIM and "linspace" for Euler), and a field that the chosen sampler has no use for is not read: both
 * as `Scheduler.from_config` of diffusers does when it changes classes.
 *
 * @module
 */
import * as z from "zod/mini";
import { CheckpointError, quote } from "../errors.ts";
import type { SamplerName } from "./contract.ts";

const number = z.number();
const flag = z.boolean();
const off = z.optional(z.nullable(z.literal(false)));
const nothing = z.optional(z.null());

const Schema = z.strictObject({
  _class_name: z.enum([
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "LCMScheduler",
  ]),
  _diffusers_version: z.optional(z.string()),

  // The noise schedule.
  num_train_timesteps: z._default(z.int().check(z.minimum(2), z.maximum(100000)), 1000),
  beta_start: z.optional(number.check(z.gt(0), z.lt(1))),
  beta_end: z.optional(number.check(z.gt(0), z.lt(1))),
  beta_schedule: z.optional(z.enum(["linear", "scaled_linear", "squaredcos_cap_v2"])),
  trained_betas: z.optional(z.nullable(z.array(number.check(z.gt(0), z.lt(1))))),
  rescale_betas_zero_snr: z.optional(flag),
  prediction_type: z._default(z.enum(["epsilon", "v_prediction", "sample"]), "epsilon"),

  // Timesteps.
  timestep_spacing: z.optional(z.enum(["leading", "trailing", "linspace"])),
  steps_offset: z._default(z.int().check(z.minimum(0)), 0),
  timestep_type: z.optional(z.literal("discrete")),
  original_inference_steps: z.optional(z.int().check(z.positive())),
  timestep_scaling: z.optional(number.check(z.positive())),

  // Noise levels.
  interpolation_type: z.optional(z.literal("linear")),
  use_karras_sigmas: z.optional(z.nullable(flag)),
  use_exponential_sigmas: off,
  use_beta_sigmas: off,
  use_lu_lambdas: off,
  use_flow_sigmas: off,
  flow_shift: z.optional(z.nullable(number)), // read with use_flow_sigmas only
  use_dynamic_shifting: off,
  time_shift_type: z.optional(z.literal("exponential")), // read with use_dynamic_shifting only
  sigma_min: nothing,
  sigma_max: nothing,
  final_sigmas_type: z.optional(z.enum(["zero", "sigma_min"])),
  lambda_min_clipped: z.optional(z.nullable(z.union([number, z.literal(-Infinity)]))),

  // Steps.
  set_alpha_to_one: z.optional(flag),
  skip_prk_steps: z.optional(flag),
  solver_order: z.optional(z.literal(2)),
  solver_type: z.optional(z.literal("midpoint")),
  algorithm_type: z.optional(z.literal("dpmsolver++")),
  lower_order_final: z.optional(flag),
  euler_at_final: z.optional(flag),
  variance_type: nothing,

  // Clipping of x_0 is for images, not latents; diffusers' own pipelines turn it off.
  clip_sample: off,
  clip_sample_range: z.optional(number), // read with clip_sample only
  thresholding: off,
  dynamic_thresholding_ratio: z.optional(number), // read with thresholding only
  sample_max_value: z.optional(number), // read with thresholding only
});

/** A parsed `scheduler_config.json`; names as in the file. */
export type SchedulerConfig = Readonly<z.infer<typeof Schema>>;

const SAMPLER_OF_CLASS: Record<SchedulerConfig["_class_name"], SamplerName> = {
  DDIMScheduler: "ddim",
  PNDMScheduler: "pndm",
  EulerDiscreteScheduler: "euler",
  EulerAncestralDiscreteScheduler: "euler_a",
  DPMSolverMultistepScheduler: "dpm++_2m",
  LCMScheduler: "lcm",
};

/** The sampler that the configuration was written for. */
export function samplerOfConfig(config: SchedulerConfig): SamplerName {
  const name = SAMPLER_OF_CLASS[config._class_name];
  return name === "dpm++_2m" && config.use_karras_sigmas ? "dpm++_2m_karras" : name;
}

/**
 * Checks the object that `scheduler_config.json` holds.
 *
 * @param file The file's name, for messages.
 * @throws {CheckpointError} that names the first field of an unsupported value, or an unknown one.
 */
export function parseSchedulerConfig(json: unknown, file = "scheduler_config.json"): SchedulerConfig {
  const { data, error } = Schema.safeParse(json);
  if (error) {
    const issue = error.issues[0];
    if (issue.code === "unrecognized_keys") {
      throw refusal(file, issue.keys[0], "a field that the samplers know", (json as never)[issue.keys[0]]);
    }
    const value = issue.path.reduce((at: unknown, key) => (at as never)?.[key], json);
    if (issue.path.length === 0) {
      throw new CheckpointError(`Cannot read ${quote(file)}: expected an object, found ${shown(value)}`);
    }
    throw refusal(file, issue.path.join("."), expectation(issue), value);
  }
  const betas = data.trained_betas;
  if (betas && betas.length !== data.num_train_timesteps) {
    const expected = `${data.num_train_timesteps} numbers (num_train_timesteps)`;
    throw new CheckpointError(
      `Cannot use "trained_betas" of ${quote(file)}: expected ${expected}, found ${betas.length}`,
    );
  }
  return data;
}

/** The same from the file's text. */
export function readSchedulerConfig(text: string, file = "scheduler_config.json"): SchedulerConfig {
  return parseSchedulerConfig(parseSchedulerJson(text, file), file);
}

/**
 * The file's text as an object, not checked yet. Python writes the default of `lambda_min_clipped` as `-Infinity`,
 * which is no JSON.
 *
 * @throws {CheckpointError} for text that is not JSON otherwise.
 */
export function parseSchedulerJson(text: string, file = "scheduler_config.json"): unknown {
  try {
    // Strings are matched first and kept, so that only a bare word is replaced; an open one too, up to the end of the
    // text, since a search that tried again inside it would take quadratic time.
    const string = /"(?:[^"\\]+|\\[^])*"?|-Infinity\b/g;
    return JSON.parse(text.replace(string, (t) => t === "-Infinity" ? "-1e999" : t));
  } catch (cause) {
    throw new CheckpointError(
      `Cannot read ${quote(file)}: expected JSON, found ${quote((cause as Error).message)}`,
      { cause },
    );
  }
}

function refusal(file: string, field: string, expected: string, value: unknown): CheckpointError {
  return new CheckpointError(
    `Cannot use ${quote(field)} of ${quote(file)}: expected ${expected}, found ${shown(value)}`,
  );
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_value":
      return issue.values.map((v) => JSON.stringify(v)).join(" or ");
    case "invalid_type":
      return issue.expected === "int" ? "an integer" : `a value of type ${issue.expected}`;
    case "too_small":
      return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    case "too_big":
      return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    default:
      return "another value";
  }
}

function shown(value: unknown): string {
  const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
