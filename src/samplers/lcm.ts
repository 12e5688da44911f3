/**
 * Multistep sampling of a latent consistency model (Luo et al., arXiv 2310.04378, algorithm 3).
 *
 * @module
 */
import type { RunOptions, Sampler } from "./contract.ts";
import { combine, predictX0 } from "./predict.ts";
import { alphaTable, type SamplerConfig } from "./settings.ts";

const SIGMA_DATA = 0.5;

export function createLcm(config: SamplerConfig, { steps, skip }: RunOptions): Sampler {
  const type = config.prediction_type;
  const { alphas, alphaAt } = alphaTable(config);
  const timesteps = lcmTimesteps(steps, config).slice(skip);

  /** How much of x and of the predicted x_0 the consistency function takes: nearly none and all, but at t near 0. */
  function boundary(t: number): { skip: number; out: number } {
    const scaled = t * config.timestep_scaling;
    const square = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    return { skip: SIGMA_DATA * SIGMA_DATA / square, out: scaled / Math.sqrt(square) };
  }

  return {
    name: "lcm",
    timesteps,
    initNoiseSigma: 1,
    scaleInput: () => 1,
    addNoise(index) {
      if (index >= timesteps.length) return [1, 0];
      const alpha = alphaAt(timesteps[index]);
      return [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
    },
    noisePerStep: (index) => index < timesteps.length - 1,
    historyLength: () => 0,
    step(lincomb, { index, x, modelOutput, noise }) {
      const t = timesteps[index];
      const x0 = predictX0(type, alphaAt(t));
      const b = boundary(t);
      const cx = b.out * x0.x + b.skip, co = b.out * x0.out;
      const denoised = combine(lincomb, [[cx, x], [co, modelOutput]]);
      if (index === timesteps.length - 1) return { x: denoised, denoised, history: [] };
      const next = alphas[timesteps[index + 1]];
      const a = Math.sqrt(next);
      return {
        x: combine(lincomb, [[a, denoised], [Math.sqrt(1 - next), noise!]]),
        denoised,
        history: [],
      };
    },
  };
}

/** Evenly spaced picks, from the noisy end, of the timesteps that the model was distilled at. */
function lcmTimesteps(steps: number, config: SamplerConfig): number[] {
  const original = config.original_inference_steps;
  const stride = Math.floor(config.num_train_timesteps / original);
  // numpy.linspace(0, original, steps, endpoint=False), floored
  return Array.from(
    { length: steps },
    (_, i) => (original - Math.floor(i * (original / steps))) * stride - 1,
  );
}
