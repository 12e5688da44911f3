import type { WorkKind } from "../backend/count.ts";
import type { NoiseSourceName } from "../samplers/random.ts";
import type { MergeMap } from "../tome/merge_map.ts";
import type { TokenMergingOptions } from "../tome/options.ts";

/**
 * A picture, row-major RGBA: what image-to-image starts from, and the mask of inpainting.
 *
 * @example
 * ```ts
 * import { loadPipeline, type Picture } from "tome-edge";
 *
 * const data = new Uint8ClampedArray(64 * 64 * 4).fill(200); // light grey
 * const image: Picture = { width: 64, height: 64, data };
 * const pipe = await loadPipeline();
 * await pipe.generate({ prompt: "a red apple", image, strength: 0.5, width: 64, height: 64, steps: 2 });
 * await pipe.dispose();
 * ```
 */
export interface Picture {
  /** Pixels of a row. */
  width: number;
  /** Rows. */
  height: number;
  /** `[height · width · 4]`; alpha is ignored. */
  data: Uint8ClampedArray | Uint8Array;
}

/**
 * What to draw. Names and meanings are the field's; only `prompt` is required.
 *
 * @example
 * ```ts
 * import { type GenerateOptions, loadPipeline } from "tome-edge";
 *
 * const options: GenerateOptions = {
 *   prompt: "a 3d icon of a red apple",
 *   negativePrompt: "green",
 *   width: 64,
 *   height: 64,
 *   steps: 2,
 *   guidanceScale: 5,
 *   seed: 1,
 *   sampler: "dpm++_2m",
 *   tokenMerging: { ratio: 0.5 },
 * };
 * const pipe = await loadPipeline();
 * const { images } = await pipe.generate(options);
 * console.log(images[0].width, images[0].height); // 64 64
 * await pipe.dispose();
 * ```
 */
export interface GenerateOptions {
  /** What to draw. The text encoder reads its first tokens, 77 as a rule; a warning tells what was cut. */
  prompt: string;
  /** What to avoid; "" by default. Without effect where `guidanceScale` is 1 or less. */
  negativePrompt?: string;
  /** Pixels, a multiple of the autoencoder's factor; the model's native size by default. */
  width?: number;
  /** Pixels, as `width`. */
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

/**
 * A finished step of a run.
 *
 * @example
 * ```ts
 * import { loadPipeline, type Step } from "tome-edge";
 *
 * const show = ({ index, total, preview }: Step) => console.log(index, total, preview()[0].width);
 * const pipe = await loadPipeline();
 * await pipe.generate({ prompt: "a red apple", width: 64, height: 64, steps: 2, onStep: show });
 * await pipe.dispose();
 * ```
 */
export interface Step {
  /** From 1 to `total`, over all pictures of the run. */
  index: number;
  /** Steps of the whole run. */
  total: number;
  /** The noise level that the network was told: about 1000 at the first step, near 0 at the last. */
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

/**
 * A picture drawn.
 *
 * @example
 * ```ts
 * import { type Image, loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const { images } = await pipe.generate({ prompt: "a red apple", width: 64, height: 64, steps: 2, seed: 1 });
 * const image: Image = images[0];
 * console.log(image.data.length === image.width * image.height * 4); // true
 * console.log(image.text.parameters); // "a red apple\nSteps: 2, Sampler: …, Seed: 1, Size: 64x64, …"
 * console.log(image.png().subarray(1, 4)); // the bytes of "PNG"
 * await pipe.dispose();
 * ```
 */
export interface Image {
  /** Pixels of a row. */
  width: number;
  /** Rows. */
  height: number;
  /** `[height · width · 4]`, RGBA. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Generation parameters by name, `parameters` among them: the text chunks of `png()`. */
  text: Readonly<Record<string, string>>;
  /** A PNG file, with the generation parameters in a text chunk named `parameters`. */
  png(): Uint8Array<ArrayBuffer>;
}

/**
 * What a run made.
 *
 * @example
 * ```ts
 * import { type GenerateResult, loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const result: GenerateResult = await pipe.generate({
 *   prompt: "a red apple", width: 64, height: 64, steps: 2, n: 2, seed: 5,
 * });
 * console.log(result.images.length, result.stats.seed, result.warnings); // 2 5 []
 * await pipe.dispose();
 * ```
 */
export interface GenerateResult {
  /** `n` of them; picture i has the seed `stats.seed + i`. */
  images: Image[];
  /** What the run did and what it cost. */
  stats: Stats;
  /** What the caller should know: a prompt that was cut, an option that had no effect. */
  warnings: string[];
}

/**
 * What a run did and what it cost.
 *
 * @example
 * ```ts
 * import { loadPipeline, type Stats, type WorkKind } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const { stats }: { stats: Stats } = await pipe.generate({
 *   prompt: "a red apple", width: 64, height: 64, steps: 2, tokenMerging: { ratio: 0.5 },
 * });
 * const { before, after } = stats.tokens[0];
 * console.log(`${before} tokens → ${after}; merging can gain at most ${stats.ceiling.toFixed(2)}x`);
 * const kind: WorkKind = "attention"; // or "linear", "conv2d", "match"
 * const attention = stats.layers.filter((layer) => layer.kind === kind);
 * console.log(attention.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0) / stats.multiplyAdds);
 * await pipe.dispose();
 * ```
 */
export interface Stats {
  /** One line for people: device, kernels, threads. */
  device: string;
  /** Of the first picture, also where it was drawn at random. */
  seed: number;
  /** The sampler that was used. */
  sampler: string;
  /** Denoising steps asked for, or the model's own number of them. */
  steps: number;
  /** What was merged, every default filled in; null for nothing. */
  tokenMerging: Required<TokenMergingOptions> | null;
  /** Calls of the UNet; one call serves the prompted and the unprompted half. */
  networkCalls: number;
  /** Wall-clock seconds of the text encoder, the autoencoder on the way in, the steps, the way out, and in all. */
  seconds: { text: number; encode: number; denoise: number; decode: number; total: number };
  /** Wall-clock seconds of each step. */
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

/**
 * What a model says about itself; filled from its folder and `tome_edge.json` there.
 *
 * @example
 * ```ts
 * import { loadPipeline, type ModelInfo } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const info: ModelInfo = pipe.info;
 * console.log(info.name, info.nativeWidth, info.nativeHeight, info.factor); // emoji 96 96 4
 * await pipe.dispose();
 * ```
 */
export interface ModelInfo {
  /** The name of its folder. */
  name: string;
  /** Pixels per latent. */
  factor: number;
  /** Pixels of a row of the pictures that it was trained on. */
  nativeWidth: number;
  /** Rows of them. */
  nativeHeight: number;
  /** The art or data to credit, put into every picture's metadata. */
  attribution?: string;
  /** Where the general defaults (25 steps, guidance 7.5) are not the best for this model. */
  defaults: { steps?: number; guidanceScale?: number };
  /** The sampler that its scheduler's configuration names. */
  sampler: string;
  /** One line for people: device, kernels, threads. */
  device: string;
  /** What the caller should know about how it was loaded, such as why nothing was cached. */
  notes?: readonly string[];
}
