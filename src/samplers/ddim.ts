/**
 * DDIM (Song, Meng and Ermon, arXiv 2010.02502, equations 12 and 16).
 *
 * @module
 */
import type { RunOptions, Sampler } from "./contract.ts";
import { combine, predictNoise, predictX0 } from "./predict.ts";
import { alphaTable, type SamplerConfig } from "./settings.ts";
import { spacedTimesteps } from "./schedule.ts";

export function createDdim(config: SamplerConfig, { steps, skip, eta }: RunOptions): Sampler {
  const type = config.prediction_type;
  const { alphas, alphaAt } = alphaTable(config);
  const stride = Math.floor(alphas.length / steps);
  const timesteps = spacedTimesteps(steps, {
    trainSteps: alphas.length,
    spacing: config.timestep_spacing,
    offset: config.steps_offset,
  }).slice(skip);
  const finalAlpha = config.set_alpha_to_one ? 1 : alphas[0];

  /** ᾱ before and after the step, and the deviation of the noise that it adds. */
  function levels(index: number): { alpha: number; next: number; deviation: number } {
    const t = timesteps[index];
    const alpha = alphaAt(t);
    // A stride down, not the next timestep: they differ for linspace and trailing spacing.
    const next = t - stride >= 0 ? alphas[t - stride] : finalAlpha;
    const variance = (1 - next) / (1 - alpha) * (1 - alpha / next);
    return { alpha, next, deviation: eta * Math.sqrt(variance) };
  }

  return {
    name: "ddim",
    timesteps,
    initNoiseSigma: 1,
    scaleInput: () => 1,
    addNoise(index) {
      if (index >= timesteps.length) return [1, 0];
      const alpha = alphaAt(timesteps[index]);
      return [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
    },
    noisePerStep: (index) => levels(index).deviation > 0,
    historyLength: () => 0,
    step(lincomb, { index, x, modelOutput, noise }) {
      const { alpha, next, deviation } = levels(index);
      const x0 = predictX0(type, alpha);
      const epsilon = predictNoise(type, alpha);
      const a = Math.sqrt(next);
      const direction = Math.sqrt(1 - next - deviation * deviation);
      return {
        x: combine(lincomb, [
          [a * x0.x + direction * epsilon.x, x],
          [a * x0.out + direction * epsilon.out, modelOutput],
          ...(deviation > 0 ? [[deviation, noise!] as const] : []),
        ]),
        denoised: combine(lincomb, [[x0.x, x], [x0.out, modelOutput]]),
        history: [],
      };
    },
  };
}
