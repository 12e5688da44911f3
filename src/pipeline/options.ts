import type { WorkKind } from "../backend/count.ts";
import type { NoiseSourceName } from "../samplers/random.ts";
import type { MergeMap } from "../tome/merge_map.ts";
import type { TokenMergingOptions } from "../tome/options.ts";

/** A picture, row-major RGBA. */
export interface Picture {
  width: number;
  height: number;
  /** `[height · width · 4]`; alpha is ignored. */
  data: Uint8ClampedArray | Uint8Array;
}

/** What to draw. Names and meanings are the field's; only `prompt` is required. */
export interface GenerateOptions {
  prompt: string;
  /** What to avoid; "" by default. Without effect where `guidanceScale` is 1 or less. */
  negativePrompt?: string;
  /** Pixels, a multiple of the autoencoder's factor; the model's native size by default. */
  width?: number;
  height?: number;
  /** Denoising steps, 1 to 1000. */
  steps?: number;
  /** Classifier-free guidance; at 1 or less the network runs without it, on half the batch. */
  guidanceScale?: number;
  /** 0 to 2⁵³ − 1; picture i of several uses seed + i. Drawn at random by default. */
  seed?: number;
  /** "ddim", "pndm", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm"; the checkpoint's own by default. */
  sampler?: string;
  /** Pictures to draw, 1 to 64. */
  n?: number;
  /** Start from this picture: image-to-image. It must have the size to draw. */
  image?: Picture;
  /** With `image`: repaint where it is white, keep where it is black. */
  mask?: Picture;
  /** With `image`: the share of the steps to run, above 0 and up to 1. */
  strength?: number;
  /** Whose random numbers a seed means: PyTorch's on the CPU, as in diffusers, or CUDA's Philox, as in AUTOMATIC1111. */
  noise?: NoiseSourceName;
  /** Overrides the pipeline's patch for this run; null turns merging off. */
  tokenMerging?: TokenMergingOptions | null;
  /** Reads what every step merged, for `Step.mergeMaps`; it costs a wait for the device in every step. */
  mergeMaps?: boolean;
  /** Stops the run within one step; it then rejects with an `AbortError`. */
  signal?: AbortSignal;
  /** Called after every step. */
  onStep?: (step: Step) => void;
}

/** A finished step of a run. */
export interface Step {
  /** From 1 to `total`, over all pictures of the run. */
  index: number;
  total: number;
  timestep: number;
  /** Since the last step. */
  seconds: number;
  /** What the picture looks like so far, roughly: the estimate of the finished latents, through a linear map. One for each picture in work. */
  preview(): Image[];
  /** What the transformer blocks merged, if `mergeMaps` asked for it: one for each block that merged and picture in work. */
  mergeMaps?: MergeMap[];
  /** With the last step: what `generate` gives. */
  result?: GenerateResult;
}

/** A picture drawn. */
export interface Image {
  width: number;
  height: number;
  /** `[height · width · 4]`, RGBA. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Generation parameters by name, `parameters` among them: the text chunks of `png()`. */
  text: Readonly<Record<string, string>>;
  /** A PNG file, with the generation parameters in a text chunk named `parameters`. */
  png(): Uint8Array<ArrayBuffer>;
}

export interface GenerateResult {
  images: Image[];
  stats: Stats;
  /** What the caller should know: a prompt that was cut, an option that had no effect. */
  warnings: string[];
}

/** What a run did and what it cost. */
export interface Stats {
  device: string;
  seed: number;
  sampler: string;
  steps: number;
  tokenMerging: Required<TokenMergingOptions> | null;
  /** Calls of the UNet; one call serves the prompted and the unprompted half. */
  networkCalls: number;
  seconds: { text: number; encode: number; denoise: number; decode: number; total: number };
  stepSeconds: number[];
  /** Tokens of each transformer block that merging was planned for, in one network call. */
  tokens: { name: string; before: number; after: number }[];
  /** Multiply-adds of the last network call by layer; `tokens` and `keys` are per image. */
  layers: { name: string; kind: WorkKind; tokens: number; keys: number; multiplyAdds: number }[];
  /** Of one network call. */
  multiplyAdds: number;
  /** What counting multiply-adds lets merging gain at most: those without it over those with it. */
  ceiling: number;
  /** The most bytes that activations held at once. */
  peakBytes: number;
}

/** A run's options with every default filled in: plain data that crosses to a worker. */
export interface Request {
  prompt: string;
  negativePrompt: string;
  width: number;
  height: number;
  steps: number;
  guidanceScale: number;
  seed: number;
  sampler: string;
  n: number;
  image?: Picture;
  mask?: Picture;
  strength: number;
  noise: NoiseSourceName;
  tokenMerging: Required<TokenMergingOptions> | null;
  /** Whether somebody will look at previews: each step then carries its latents. */
  previews: boolean;
  mergeMaps: boolean;
}

/** What a model says about itself; filled from its folder and `tome_edge.json` there. */
export interface ModelInfo {
  name: string;
  /** Pixels per latent. */
  factor: number;
  /** Pixels. */
  nativeWidth: number;
  nativeHeight: number;
  /** The art or data to credit, put into every picture's metadata. */
  attribution?: string;
  /** Where the general defaults (25 steps, guidance 7.5) are not the best for this model. */
  defaults: { steps?: number; guidanceScale?: number };
  sampler: string;
  device: string;
  /** What the caller should know about how it was loaded, such as why nothing was cached. */
  notes?: readonly string[];
}
