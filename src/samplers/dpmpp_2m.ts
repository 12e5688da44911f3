/**
 * DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2, midpoint), optionally on Karras' noise levels.
 *
 * @module
 */
import type { RunOptions, Sampler } from "./contract.ts";
import { log } from "./math.ts";
import { combine, predictX0 } from "./predict.ts";
import {
  interpolateSigma,
  karrasSigmas,
  logSigmasOf,
  roundHalfToEven,
  sigmasOf,
  sigmaToTimestep,
  spacedTimestepsDpm,
} from "./schedule.ts";
import { positiveAlphas, type SamplerConfig } from "./settings.ts";

export function createDpmpp2m(config: SamplerConfig, options: RunOptions & { karras: boolean }): Sampler {
  const { steps, skip, karras } = options;
  const type = config.prediction_type;
  const table = sigmasOf(positiveAlphas(config));
  const { timesteps: allTimesteps, levels } = karras ? karrasSteps() : spacedSteps();
  const last = config.final_sigmas_type === "sigma_min" ? table[0] : 0;
  const timesteps = allTimesteps.slice(skip);
  const sigmas = [...levels, last].slice(skip).map(Math.fround);

  function spacedSteps(): { timesteps: number[]; levels: number[] } {
    const timesteps = spacedTimestepsDpm(steps, {
      trainSteps: table.length,
      spacing: config.timestep_spacing,
      offset: config.steps_offset,
      last: table.length - clippedTimesteps(),
    });
    return { timesteps, levels: timesteps.map((t) => interpolateSigma(table, t)) };
  }

  function karrasSteps(): { timesteps: number[]; levels: number[] } {
    const levels = karrasSigmas(steps, { min: table[0], max: table[table.length - 1] });
    const logSigmas = logSigmasOf(table);
    // A cosine schedule's timesteps are cut to integers, the others' rounded.
    const whole = config.beta_schedule === "squaredcos_cap_v2" ? Math.floor : roundHalfToEven;
    return { timesteps: levels.map((sigma) => whole(sigmaToTimestep(sigma, logSigmas))), levels };
  }

  /** Timesteps at the noisy end whose λ = −log σ lies below `lambda_min_clipped`. */
  function clippedTimesteps(): number {
    const limit = config.lambda_min_clipped ?? -Infinity;
    return limit === -Infinity ? 0 : table.filter((sigma) => -log(sigma) < limit).length;
  }

  /** √ᾱ of x = √ᾱ · (x_0 + σ·ε). */
  const scale = (sigma: number) => 1 / Math.sqrt(sigma * sigma + 1);

  function isFirstOrder(index: number): boolean {
    if (index === 0) return true;
    const few = config.lower_order_final && allTimesteps.length < 15;
    return index === timesteps.length - 1 &&
      (few || !!config.euler_at_final || config.final_sigmas_type === "zero");
  }

  return {
    name: karras ? "dpm++_2m_karras" : "dpm++_2m",
    timesteps,
    initNoiseSigma: 1,
    scaleInput: () => 1,
    addNoise(index) {
      if (index >= timesteps.length) return [1, 0];
      return [scale(sigmas[index]), scale(sigmas[index]) * sigmas[index]];
    },
    noisePerStep: () => false,
    historyLength: (index) => isFirstOrder(index) ? 0 : 1,
    step(lincomb, { index, x, modelOutput, history = [] }) {
      const from = sigmas[index], to = sigmas[index + 1];
      const x0 = predictX0(type, scale(from) ** 2);
      const denoised = combine(lincomb, [[x0.x, x], [x0.out, modelOutput]]);
      // With h = λ_to − λ_from: e^−h = to / from, and σ_to / σ_from of the paper is that times the ratio of scales.
      const keep = to / from * (scale(to) / scale(from));
      const gain = scale(to) * (1 - to / from);
      if (isFirstOrder(index)) {
        return { x: combine(lincomb, [[keep, x], [gain, denoised]]), denoised, history: [denoised] };
      }
      const before = sigmas[index - 1];
      const extrapolate = 0.5 * log(from / to) / log(before / from);
      return {
        x: combine(lincomb, [
          [keep, x],
          [gain * (1 + extrapolate), denoised],
          [-gain * extrapolate, history[0]],
        ]),
        denoised,
        history: [denoised],
      };
    },
  };
}
