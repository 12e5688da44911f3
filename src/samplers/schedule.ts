/**
 * Noise schedules and the timesteps drawn from them.
 *
 * Tables are rounded to f32 where PyTorch rounds, since a schedule differs visibly in its last steps otherwise; they
 * agree with diffusers' within 1e-6. Rounding of timesteps is numpy's (halves to even).
 *
 * @module
 */
import { cos, log, pow } from "./math.ts";

const f = Math.fround;

export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";
export type TimestepSpacing = "leading" | "trailing" | "linspace";

export interface NoiseScheduleOptions {
  readonly num_train_timesteps: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: BetaSchedule;
  /** Given instead of the three fields above. */
  readonly trained_betas?: readonly number[] | null;
  /** Shifts the schedule so that its last step is pure noise (arXiv 2305.08891, algorithm 1). */
  readonly rescale_betas_zero_snr?: boolean;
}

/** β_t for every training timestep. */
export function betas(options: NoiseScheduleOptions): Float32Array {
  const { num_train_timesteps: count, beta_start, beta_end } = options;
  let out: Float32Array;
  if (options.trained_betas) out = Float32Array.from(options.trained_betas);
  else if (options.beta_schedule === "linear") out = linspace32(beta_start, beta_end, count);
  else if (options.beta_schedule === "scaled_linear") {
    out = linspace32(Math.sqrt(beta_start), Math.sqrt(beta_end), count).map((b) => b * b);
  } else {
    const alphaBar = (t: number) => cos((t + 0.008) / 1.008 * Math.PI / 2) ** 2;
    out = Float32Array.from({ length: count }, (_, i) => {
      return Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999);
    });
  }
  return options.rescale_betas_zero_snr ? zeroTerminalSnr(out) : out;
}

/** ᾱ_t, the product of 1 − β up to and with timestep t. */
export function alphasCumprod(betas: Float32Array): Float32Array {
  let product = 1; // PyTorch accumulates f32 products in f64.
  return betas.map((beta) => product *= f(1 - beta));
}

function zeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = alphasCumprod(betas).map(Math.sqrt);
  const first = roots[0], last = roots[roots.length - 1];
  const scale = f(first / f(first - last));
  const bars = roots.map((root) => f(f(root - last) * scale) ** 2);
  return bars.map((bar, t) => 1 - f(t === 0 ? bar : bar / bars[t - 1]));
}

/** σ_t = √((1 − ᾱ_t) / ᾱ_t), the noise level of x_0 + σ·noise. */
export function sigmasOf(alphas: Float32Array): Float32Array {
  return alphas.map((a) => Math.sqrt(f(f(1 - a) / a)));
}

/** `torch.linspace` in f32: from the start up to the middle, from the end down to it. */
function linspace32(start: number, end: number, count: number): Float32Array {
  const a = f(start), b = f(end), step = f(f(b - a) / (count - 1));
  return Float32Array.from({ length: count }, (_, i) => {
    return i < count >> 1 ? a + step * i : b - step * (count - 1 - i);
  });
}

/** `numpy.linspace(0, end, count)`. */
function linspace(end: number, count: number): number[] {
  const step = end / (count - 1);
  return Array.from({ length: count }, (_, i) => count === 1 ? 0 : i === count - 1 ? end : i * step);
}

export function roundHalfToEven(x: number): number {
  const down = Math.floor(x), rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

export interface SpacingOptions {
  readonly trainSteps: number;
  readonly spacing: TimestepSpacing;
  readonly offset: number;
  /** Leave linspace's timesteps in f32 between the training timesteps (Euler's). */
  readonly fractional?: boolean;
}

/**
 * `steps` timesteps in descending order, as table 2 of arXiv 2305.08891 names the ways to space them.
 *
 * For some numbers of steps (61, 103, 121, …) diffusers' trailing spacing adds a timestep −1 through a rounding
 * error; it is left out here.
 */
export function spacedTimesteps(steps: number, options: SpacingOptions): number[] {
  const { trainSteps, spacing, offset } = options;
  if (spacing === "linspace") {
    const ascending = linspace(trainSteps - 1, steps);
    return ascending.reverse().map(options.fractional ? f : roundHalfToEven);
  }
  if (spacing === "leading") {
    const ratio = Math.floor(trainSteps / steps);
    return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * ratio + offset);
  }
  return trailing(trainSteps, { trainSteps, steps });
}

/** From `last` downwards by trainSteps / steps, `numpy.arange`'s way of adding up. */
function trailing(last: number, { trainSteps, steps }: { trainSteps: number; steps: number }): number[] {
  const ratio = trainSteps / steps;
  const delta = (last - ratio) - last;
  const count = Math.min(Math.ceil(last / ratio), steps);
  return Array.from({ length: count }, (_, i) => roundHalfToEven(last + i * delta) - 1);
}

/** The same for DPM-Solver++, which leaves out the lowest of steps + 1 and may start below the last timestep. */
export function spacedTimestepsDpm(steps: number, options: SpacingOptions & { last: number }): number[] {
  const { trainSteps, spacing, offset, last } = options;
  if (spacing === "linspace") {
    return linspace(last - 1, steps + 1).map(roundHalfToEven).reverse().slice(0, steps);
  }
  if (spacing === "leading") {
    const ratio = Math.floor(last / (steps + 1));
    return Array.from({ length: steps }, (_, i) => (steps - i) * ratio + offset);
  }
  return trailing(last, { trainSteps, steps });
}

/** σ at a timestep that may lie between two training timesteps. */
export function interpolateSigma(sigmas: Float32Array, t: number): number {
  const low = Math.floor(t);
  if (low < 0) return sigmas[0];
  if (low >= sigmas.length - 1) return sigmas[sigmas.length - 1];
  return sigmas[low] + (sigmas[low + 1] - sigmas[low]) * (t - low);
}

/** `steps` noise levels from σ_max down to σ_min with ρ = 7 (Karras et al., arXiv 2206.00364, equation 5). */
export function karrasSigmas(steps: number, { min, max }: { min: number; max: number }): number[] {
  const a = pow(max, 1 / 7), b = pow(min, 1 / 7);
  return linspace(1, steps).map((ramp) => pow(a + ramp * (b - a), 7));
}

/** The timestep of a noise level, interpolated in log σ. */
export function sigmaToTimestep(sigma: number, logSigmas: Float32Array): number {
  const logSigma = log(Math.max(sigma, 1e-10));
  const last = logSigmas.length - 2;
  let low = 0;
  while (low < last && logSigmas[low + 1] <= logSigma) low++;
  const a = logSigmas[low], b = logSigmas[low + 1];
  const w = Math.min(Math.max((a - logSigma) / f(a - b), 0), 1);
  return (1 - w) * low + w * (low + 1);
}

/** log σ_t in f32. */
export function logSigmasOf(sigmas: Float32Array): Float32Array {
  return sigmas.map(log);
}
