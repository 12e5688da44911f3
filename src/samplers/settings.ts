/**
 * A scheduler configuration with the defaults of one sampler, and the tables that samplers build from it.
 *
 * @module
 */
import type { SamplerName } from "./contract.ts";
import { alphasCumprod, betas, type BetaSchedule, type TimestepSpacing } from "./schedule.ts";
import type { SchedulerConfig } from "./scheduler_config.ts";

/** `SchedulerConfig` with what may be absent from the file filled in. */
export interface SamplerConfig extends SchedulerConfig {
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: BetaSchedule;
  readonly timestep_spacing: TimestepSpacing;
  readonly set_alpha_to_one: boolean;
  readonly original_inference_steps: number;
  readonly timestep_scaling: number;
  readonly final_sigmas_type: "zero" | "sigma_min";
  readonly lower_order_final: boolean;
}

const DEFAULTS = {
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear" as BetaSchedule,
  timestep_spacing: "leading" as TimestepSpacing,
  set_alpha_to_one: true,
  original_inference_steps: 50,
  timestep_scaling: 10,
  final_sigmas_type: "zero" as const,
  lower_order_final: true,
};

type Defaults = typeof DEFAULTS;

// Where diffusers' classes differ.
const OWN_DEFAULTS: Partial<Record<SamplerName, Partial<Defaults>>> = {
  pndm: { set_alpha_to_one: false },
  euler: { timestep_spacing: "linspace" },
  euler_a: { timestep_spacing: "linspace" },
  "dpm++_2m": { timestep_spacing: "linspace" },
  "dpm++_2m_karras": { timestep_spacing: "linspace" },
  lcm: { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" },
};

export function withDefaults(name: SamplerName, config: SchedulerConfig): SamplerConfig {
  return { ...DEFAULTS, ...OWN_DEFAULTS[name], ...config };
}

/** ᾱ_t as f32, and a reader that refuses timesteps which it lacks. */
export function alphaTable(
  config: SamplerConfig,
): { alphas: Float32Array; alphaAt: (timestep: number) => number } {
  const alphas = alphasCumprod(betas(config));
  return {
    alphas,
    alphaAt(timestep) {
      const alpha = alphas[timestep];
      if (alpha === undefined) {
        throw new RangeError(
          `Cannot sample at timestep ${timestep}: expected 0 to ${
            alphas.length - 1
          } (fewer steps or a smaller steps_offset)`,
        );
      }
      return alpha;
    },
  };
}

/**
 * ᾱ_t for samplers that divide by it. The last one of a zero-SNR schedule, 0, is lifted to the smallest half-precision
 * number, as diffusers does, so that σ stays finite.
 */
export function positiveAlphas(config: SamplerConfig): Float32Array {
  const { alphas } = alphaTable(config);
  if (config.rescale_betas_zero_snr) alphas[alphas.length - 1] = 2 ** -24;
  return alphas;
}
