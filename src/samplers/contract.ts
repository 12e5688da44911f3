/**
 * What every sampler is to its caller.
 *
 * A sampler of one run knows all its scalars beforehand and is linear in its tensors, so it is written once over a
 * linear combination that the caller supplies: typed arrays, a device's handles, or symbols in a test. Nothing is
 * read back from a device.
 *
 * @module
 */

export type SamplerName =
  | "ddim"
  | "pndm"
  | "euler"
  | "euler_a"
  | "dpm++_2m"
  | "dpm++_2m_karras"
  | "lcm";

/** One term of a linear combination: coefficient and tensor. */
export type Term<T> = readonly [coefficient: number, tensor: T];

/** Σ coefficient · tensor, a new tensor. Gets at least one term; no tensor occurs twice. */
export type Lincomb<T> = (terms: readonly Term<T>[]) => T;

export interface StepInput<T> {
  /** Network call, 0 … timesteps.length − 1, in order. */
  readonly index: number;
  /** x_t before scaling; the shape of everything here. */
  readonly x: T;
  /** What the network returned for `scaleInput(index) · x` at `timesteps[index]`, after guidance. */
  readonly modelOutput: T;
  /** Standard normal; needed where `noisePerStep(index)`. */
  readonly noise?: T;
  /** What the step before returned; empty (or absent) for the first. */
  readonly history?: readonly T[];
}

export interface StepOutput<T> {
  /** x of the next step, after the last one the picture's latents. */
  readonly x: T;
  /** The estimate of x_0 at this step, for previews; LCM's last is `x` itself. */
  readonly denoised: T;
  /**
   * What the next step must be given, `historyLength(index + 1)` tensors: some of those handed in (`x`, `modelOutput`, `history`)
   * or out (`denoised`). The caller keeps these alive for one step more, and may free an earlier history's others.
   */
  readonly history: readonly T[];
}

/** A sampler for one run: immutable, so that runs may share it. */
export interface Sampler {
  readonly name: SamplerName;
  /** What the network is told, in order: one entry per network call. Fractional for Euler with linspace spacing. */
  readonly timesteps: readonly number[];
  /** Standard deviation of the first x where no image is given: x = initNoiseSigma · noise. */
  readonly initNoiseSigma: number;
  /** The factor of x_t before it enters the network at call `index`. */
  scaleInput(index: number): number;
  /**
   * [a, b] with x_t = a · x_0 + b · noise at the entrance of call `index`: 0 to start from an image, later ones to
   * keep the unmasked part of an inpainting; [1, 0] at `timesteps.length`, the end of the run.
   */
  addNoise(index: number): readonly [image: number, noise: number];
  /** Whether step `index` adds fresh noise. */
  noisePerStep(index: number): boolean;
  /** How many tensors step `index` must be given as `history`: 0 for the first, six at most. */
  historyLength(index: number): number;
  /** @throws {RangeError} for an index, and a {TypeError} for noise or history, that is not as said above. */
  step<T>(lincomb: Lincomb<T>, input: StepInput<T>): StepOutput<T>;
}

/** What a sampler is made from, checked. */
export interface RunOptions {
  readonly steps: number;
  /** Steps left out at the noisy end (image-to-image). */
  readonly skip: number;
  readonly eta: number;
}

/** What the network predicts. */
export type PredictionType = "epsilon" | "v_prediction" | "sample";
