/**
 * Samplers by name.
 *
 * @module
 */
import type { RunOptions, Sampler, SamplerName, StepInput } from "./contract.ts";
import { createDdim } from "./ddim.ts";
import { createDpmpp2m } from "./dpmpp_2m.ts";
import { createEuler } from "./euler.ts";
import { createLcm } from "./lcm.ts";
import { createPndm } from "./pndm.ts";
import { type SamplerConfig, withDefaults } from "./settings.ts";
import type { SchedulerConfig } from "./scheduler_config.ts";

export type { Lincomb, Sampler, SamplerName, StepInput, StepOutput, Term } from "./contract.ts";

const SAMPLERS: Record<SamplerName, (config: SamplerConfig, options: RunOptions) => Sampler> = {
  "ddim": createDdim,
  "pndm": createPndm,
  "euler": (config, options) => createEuler(config, { ...options, ancestral: false }),
  "euler_a": (config, options) => createEuler(config, { ...options, ancestral: true }),
  "dpm++_2m": (config, options) => createDpmpp2m(config, { ...options, karras: false }),
  "dpm++_2m_karras": (config, options) => createDpmpp2m(config, { ...options, karras: true }),
  "lcm": createLcm,
};

/** The names, as `generate --sampler` takes them. */
export const samplerNames = Object.keys(SAMPLERS) as readonly SamplerName[];

/** Other programs' names, in lower case with `_` for blanks and hyphens. */
const ALIASES: Readonly<Record<string, SamplerName>> = {
  plms: "pndm",
  k_euler: "euler",
  euler_discrete: "euler",
  euler_ancestral: "euler_a",
  euler_ancestral_discrete: "euler_a",
  k_euler_a: "euler_a",
  k_euler_ancestral: "euler_a",
  "dpm++2m": "dpm++_2m",
  "dpm++": "dpm++_2m",
  dpmpp_2m: "dpm++_2m",
  dpmpp2m: "dpm++_2m",
  k_dpmpp_2m: "dpm++_2m",
  dpm_solver_multistep: "dpm++_2m",
  "dpm++2m_karras": "dpm++_2m_karras",
  dpmpp_2m_karras: "dpm++_2m_karras",
  dpmpp2m_karras: "dpm++_2m_karras",
  k_dpmpp_2m_karras: "dpm++_2m_karras",
};

/**
 * The sampler that a name or alias stands for: "Euler a", "DPM++ 2M Karras", "plms", "k_euler", ….
 *
 * @throws {RangeError} that lists the names.
 */
export function resolveSamplerName(name: string): SamplerName {
  if (typeof name !== "string") {
    throw new TypeError(
      `Cannot choose a sampler: expected a name, found ${name === null ? "null" : typeof name}`,
    );
  }
  const key = name.trim().toLowerCase().replace(/[\s-]+/g, "_");
  if (Object.hasOwn(SAMPLERS, key)) return key as SamplerName;
  if (Object.hasOwn(ALIASES, key)) return ALIASES[key];
  throw new RangeError(
    `Cannot choose a sampler: expected one of ${samplerNames.join(", ")}, found ${JSON.stringify(name)}`,
  );
}

export interface SamplerOptions {
  /** Denoising steps of a full run, 1 to the number of training timesteps (LCM: `original_inference_steps`). */
  steps: number;
  /** The share of the steps to run, from an image with noise added; above 0 up to 1. */
  strength?: number;
  /** DDIM only: 0 adds no noise (the default), 1 is as random as DDPM. */
  eta?: number;
}

/**
 * A sampler for one run of `steps` steps over a model's noise schedule.
 *
 * The name decides over the configuration: "dpm++_2m" is without Karras' noise levels also where the configuration
 * sets `use_karras_sigmas` (`samplerOfConfig` gives the name that it means); Euler, which has no such name, follows it.
 *
 * With `strength` below 1 the run is the last ⌊steps · strength⌋ steps, as diffusers' image-to-image pipelines take
 * them; start it from `addNoise(0)`.
 *
 * @throws {RangeError} for an unknown name, and for steps, strength or eta out of range.
 */
export function createSampler(name: string, config: SchedulerConfig, options: SamplerOptions): Sampler {
  const sampler = resolveSamplerName(name);
  const settings = withDefaults(sampler, config);
  const { steps, strength = 1, eta = 0 } = options;
  checkSteps(sampler, settings, steps);
  checkNumber("strength", strength);
  if (!(strength > 0 && strength <= 1)) {
    throw new RangeError(`Cannot sample with strength ${strength}: expected more than 0 and at most 1`);
  }
  checkNumber("eta", eta);
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(`Cannot sample with eta ${eta}: expected 0 to 1`);
  if (eta > 0 && sampler !== "ddim") {
    throw new RangeError(`Cannot sample with eta ${eta}: expected 0 with ${sampler}, since only ddim has it`);
  }
  const kept = Math.min(Math.floor(steps * strength), steps);
  if (kept === 0) {
    throw new RangeError(
      `Cannot sample with strength ${strength}: expected at least 1 / ${steps} with ${steps} steps, so that one is left`,
    );
  }
  const run = SAMPLERS[sampler](settings, { steps, skip: steps - kept, eta });
  checkTimesteps(run, settings);
  return {
    ...run,
    step(lincomb, input) {
      checkStep(run, input);
      return run.step(lincomb, input);
    },
  };
}

function checkSteps(sampler: SamplerName, config: SamplerConfig, steps: number): void {
  checkNumber("steps", steps);
  const limit = sampler === "lcm" ? config.original_inference_steps : config.num_train_timesteps;
  if (!Number.isInteger(steps) || steps < 1 || steps > limit) {
    throw new RangeError(
      `Cannot sample in ${steps} steps: expected an integer of 1 to ${limit}` +
        (sampler === "lcm" ? ` (the model's original_inference_steps)` : ""),
    );
  }
  if (sampler === "lcm" && limit > config.num_train_timesteps) {
    throw new RangeError(
      `Cannot sample with lcm: expected original_inference_steps of at most ${config.num_train_timesteps}, found ${limit}`,
    );
  }
}

function checkNumber(name: string, value: unknown): void {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot sample with ${name} of type ${typeof value}: expected a number`);
  }
}

function checkStep(run: Sampler, { index, noise, history = [] }: StepInput<unknown>): void {
  const count = run.timesteps.length;
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new RangeError(
      `Cannot take a step of ${run.name}: expected an index of 0 to ${count - 1}, found ${index}`,
    );
  }
  if (run.noisePerStep(index) && noise === undefined) {
    throw new TypeError(`Cannot take step ${index} of ${run.name}: expected noise, found none`);
  }
  // Else a multistep method would go on at a lower order and nobody would notice.
  const expected = run.historyLength(index);
  if (history.length < expected) {
    throw new TypeError(
      `Cannot take step ${index} of ${run.name}: expected the last step's history of ${expected}, found ${history.length}`,
    );
  }
}

/** Refuses what would only come out as NaN: a step that goes nowhere, or x_0 from pure noise. */
function checkTimesteps(run: Sampler, config: SamplerConfig): void {
  for (let i = 0; i < run.timesteps.length; i++) {
    const [image, noise] = run.addNoise(i);
    if (image === 0 && config.prediction_type === "epsilon") {
      throw new RangeError(
        `Cannot sample with ${run.name}: timestep ${
          run.timesteps[i]
        } of a zero-SNR schedule is pure noise, expected prediction_type v_prediction, found epsilon`,
      );
    }
    const again = i > 0 && run.addNoise(i - 1)[1] === noise;
    if (again && run.name.startsWith("dpm++")) {
      throw new RangeError(
        `Cannot sample with ${run.name}: expected fewer steps, found timestep ${run.timesteps[i]} twice`,
      );
    }
  }
}
