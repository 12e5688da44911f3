/**
 * Euler's method on the probability flow, and with part of the noise drawn anew (ancestral), in k-diffusion's
 * variables x = x_0 + σ·ε (Karras et al., arXiv 2206.00364, algorithm 2 without churn).
 *
 * @module
 */
import type { RunOptions, Sampler } from "./contract.ts";
import { combine, predictX0FromSigma } from "./predict.ts";
import {
  interpolateSigma,
  karrasSigmas,
  logSigmasOf,
  sigmasOf,
  sigmaToTimestep,
  spacedTimesteps,
} from "./schedule.ts";
import { positiveAlphas, type SamplerConfig } from "./settings.ts";

const f = Math.fround;

export function createEuler(config: SamplerConfig, options: RunOptions & { ancestral: boolean }): Sampler {
  const { steps, skip, ancestral } = options;
  const type = config.prediction_type;
  const table = sigmasOf(positiveAlphas(config));
  let allTimesteps = spacedTimesteps(steps, {
    trainSteps: table.length,
    spacing: config.timestep_spacing,
    offset: config.steps_offset,
    fractional: true,
  });
  let levels = allTimesteps.map((t) => interpolateSigma(table, t));
  if (!ancestral && config.use_karras_sigmas) {
    levels = karrasSigmas(steps, { min: levels[steps - 1], max: levels[0] });
    const logSigmas = logSigmasOf(table);
    allTimesteps = levels.map((sigma) => f(sigmaToTimestep(sigma, logSigmas)));
  }
  const last = !ancestral && config.final_sigmas_type === "sigma_min" ? table[0] : 0;
  const allSigmas = [...levels, last].map(f);
  const maximum = Math.max(...allSigmas);
  const timesteps = allTimesteps.slice(skip);
  const sigmas = allSigmas.slice(skip);

  /** The noise level that the deterministic part reaches, and the deviation of the noise added on top. */
  function split(index: number): { down: number; up: number } {
    const from = sigmas[index], to = sigmas[index + 1];
    if (!ancestral) return { down: to, up: 0 };
    const up = Math.sqrt(to * to * (from * from - to * to)) / from;
    return { down: to * to / from, up };
  }

  return {
    name: ancestral ? "euler_a" : "euler",
    timesteps,
    initNoiseSigma: config.timestep_spacing === "leading" ? Math.sqrt(maximum * maximum + 1) : maximum,
    scaleInput: (index) => 1 / Math.sqrt(sigmas[index] ** 2 + 1),
    addNoise: (index) => [1, index < timesteps.length ? sigmas[index] : 0],
    noisePerStep: (index) => split(index).up > 0,
    historyLength: () => 0,
    step(lincomb, { index, x, modelOutput, noise }) {
      const x0 = predictX0FromSigma(type, sigmas[index]);
      const { down, up } = split(index);
      // x + (x − x_0) / σ · (σ_down − σ)
      const keep = down / sigmas[index];
      return {
        x: combine(lincomb, [
          [keep + (1 - keep) * x0.x, x],
          [(1 - keep) * x0.out, modelOutput],
          ...(up > 0 ? [[up, noise!] as const] : []),
        ]),
        denoised: combine(lincomb, [[x0.x, x], [x0.out, modelOutput]]),
        history: [],
      };
    },
  };
}
