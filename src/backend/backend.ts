/**
 * The contract between models and devices.
 *
 * Notation, here and everywhere: B batch, N tokens (= H·W), C channels, H/W height and width in latent
 * pixels, D head width, R tokens merged. Activations are channels-last: a feature map `[B, H, W, C]` is,
 * byte for byte, the token matrix `[B, N, C]`.
 *
 * Operations are synchronous to call and return new tensors; only `read*` waits for the device. Models never
 * name a device, and nothing but a backend looks inside a handle.
 *
 * @module
 */

/**
 * An opaque f32 (or, on a GPU, f16) matrix of rows: the last dimension is contiguous, the others are
 * flattened to rows that lie `stride` elements apart.
 *
 * @example
 * ```ts
 * import { createBackend, type Tensor } from "tome-edge";
 *
 * const backend = await createBackend("reference");
 * const x: Tensor = backend.upload(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
 * const right: Tensor = backend.columns(x, 1, 3);
 * console.log(right.shape, right.stride, await backend.read(right)); // [2, 2] 3 [2, 3, 5, 6]
 * await backend.dispose();
 * ```
 */
export interface Tensor {
  /** Every dimension, channels last. */
  readonly shape: readonly number[];
  /** Elements between the starts of two rows; `shape.at(-1)` unless the tensor is a view of columns. */
  readonly stride: number;
}

/** A tensor on the host as it stands in a checkpoint, row-major. */
export interface HostTensor {
  /** Checkpoint path, for messages. */
  readonly name: string;
  /** As safetensors names them. */
  readonly dtype: "F16" | "F32" | "BF16";
  /** Every dimension. */
  readonly shape: readonly number[];
  /** Little-endian bytes, `product(shape) * bytesPerElement` of them. */
  readonly data: Uint8Array;
}

/** Weights of a matrix product or convolution, repacked for the device. `name` is their checkpoint path. */
export interface Weight {
  /** Checkpoint path. */
  readonly name: string;
  /** What it is for: `linear` or `conv2d`. */
  readonly kind: "linear" | "conv";
  /** Input features (linear) or input channels (conv). */
  readonly cin: number;
  /** Output features or channels. */
  readonly cout: number;
  /** Kernel height and width; 1 for a linear weight. */
  readonly kernel: number;
}

/** Scale and shift of a normalisation. */
export interface NormWeight {
  /** Checkpoint path of the scale. */
  readonly name: string;
  /** C. */
  readonly channels: number;
}

/** Element-wise functions. `gelu` is the exact one (erf), `quick_gelu` is x·σ(1.702x). */
export type Activation = "silu" | "gelu" | "quick_gelu";

/**
 * What a matrix product or convolution does to its result before storing it: act(x·W + bias) + residual.
 *
 * @example
 * ```ts
 * import {
 *   type Activation, type AttentionOptions, type ConvOptions, createBackend, type Epilogue, type HostTensor,
 *   type MatchValues, type NormWeight, type Scoped, type Weight,
 * } from "tome-edge";
 *
 * const b = await createBackend("reference");
 * const ones = (name: string, shape: number[]): HostTensor => {
 *   const values = new Float32Array(shape.reduce((a, n) => a * n)).fill(1);
 *   return { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) };
 * };
 * const conv: Weight = b.convWeight(ones("conv", [2, 2, 3, 3])); // [out, in, k, k]
 * const norm: NormWeight = b.normWeight(ones("scale", [2]), ones("shift", [2]));
 * const activation: Activation = "silu";
 * const epilogue: Epilogue = { activation };
 * const down: ConvOptions = { ...epilogue, stride: 2 };
 * const attention: AttentionOptions = { heads: 1 };
 *
 * const x = b.upload(Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)), [1, 4, 4, 2]); // [B, H, W, C]
 * const layers = (): Scoped => {
 *   const tokens = b.reshape(b.conv2d(x, conv, down), [1, 4, 2]); // [B, N, C]
 *   const y = b.layerNorm(tokens, norm, { eps: 1e-5 });
 *   return b.attention(y, y, y, attention);
 * };
 * console.log(b.scope(layers));
 * const cells = { height: 4, width: 4, sx: 2, sy: 2 };
 * const best: MatchValues = await b.bestMatches(b.reshape(x, [1, 16, 2]), cells);
 * console.log(best.nodeMax.length, best.nodeIdx.length); // 12 12: all but the destinations
 * await b.dispose();
 * ```
 */
export interface Epilogue {
  /** Applied to the sum of product and biases; none by default. */
  activation?: Activation;
  /** Added last; the shape of the output. */
  residual?: Tensor;
  /** `[B, Cout]`, added to every row of image b together with the bias (a ResNet's time embedding). */
  rowBias?: Tensor;
  /** Of a strip: rows (pixels) of the whole image's output. Devices that cut sums by size cut them as there. */
  wholeRows?: number;
}

/** How a convolution goes over its image, and what it does to its result; see `Epilogue`. */
export interface ConvOptions extends Epilogue {
  /** 1 by default. */
  stride?: 1 | 2;
  /** Zeros added at top, left, bottom and right; `kernel >> 1` on every side by default. */
  pad?: readonly [top: number, left: number, bottom: number, right: number];
}

/** How attention is cut into heads and what it sees. */
export interface AttentionOptions {
  /** Channels are heads · D. */
  heads: number;
  /** Query i sees keys 0..i. */
  causal?: boolean;
  /** 1/√D by default. */
  scale?: number;
  /** Checkpoint path of the layer, for statistics. */
  name?: string;
}

/** Which tokens may be merged into which. See `src/tome/` and arXiv 2303.17604, section 4. */
export interface MatchOptions {
  /** Rows of the grid of tokens: N = height·width, row-major. */
  height: number;
  /** Its columns. */
  width: number;
  /** Columns of a cell; each whole cell has one destination. */
  sx: number;
  /** Rows of a cell. */
  sy: number;
  /** Tokens to merge, 1 ≤ r ≤ N − destinations. */
  r: number;
  /**
   * `[B, ⌊height/sy⌋ · ⌊width/sx⌋]`: position of each cell's destination, row-major in the cell. Zeros (the
   * top left token) when absent.
   */
  randIdx?: Int32Array;
  /** Checkpoint path of the transformer block, for statistics. */
  name?: string;
}

/**
 * A merge, on its device: of N tokens, each image keeps N − R. The kept rows of image b are its unmerged
 * source tokens, then its destinations, each in ascending token order.
 *
 * @example
 * ```ts
 * import { createBackend, type MatchOptions, type MergePlan, type PlanValues } from "tome-edge";
 *
 * const backend = await createBackend("reference");
 * const x = backend.upload(Float32Array.of(1, 0, 1, 0, 0, 1, 0, 1), [1, 4, 2]); // [B, N, C]
 * const options: MatchOptions = { height: 1, width: 4, sx: 2, sy: 1, r: 2 };
 * const plan: MergePlan = backend.match(x, options);
 * const values: PlanValues = await backend.readPlan(plan);
 * console.log(plan.merged, values.rowOf); // 2 [0, 0, 1, 1]
 * console.log(await backend.read(backend.unmerge(plan, backend.merge(plan, x)))); // x again
 * await backend.dispose();
 * ```
 */
export interface MergePlan {
  /** B: images. */
  readonly batch: number;
  /** N: tokens of each image before merging. */
  readonly tokens: number;
  /** R: tokens that each image loses. */
  readonly merged: number;
}

/** The values of a plan, on the host. */
export interface PlanValues {
  /** `[B, N]`: the row, 0..N−R−1, of the merged matrix that token n went to. */
  rowOf: Int32Array;
}

/** The best destination of every source token, on the host. */
export interface MatchValues {
  /** `[B, Nsrc]`: cosine similarity to the best destination (0 for a token of zero norm). */
  nodeMax: Float32Array;
  /** `[B, Nsrc]`: that destination's position in the ascending list of destinations; ties go to the lower. */
  nodeIdx: Int32Array;
}

/** What `scope` may hand out of a scope. */
export type Scoped = Tensor | MergePlan | void | undefined | readonly (Tensor | MergePlan | undefined)[];

/**
 * A device: what models compute on. Operations return at once; only `read`, `readPlan` and `bestMatches` wait.
 *
 * @example
 * ```ts
 * import { type Backend, createBackend, type HostTensor } from "tome-edge";
 *
 * const host = (name: string, values: number[], shape: number[]): HostTensor => ({
 *   name, dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer),
 * });
 * const b: Backend = await createBackend("reference");
 * const w = b.linearWeight([host("w", [1, 0, 0, 1, 1, 1], [3, 2])], [host("b", [0, 0, 10], [3])]);
 * const y = b.scope(() => {
 *   const x = b.upload(Float32Array.of(1, 2), [1, 2]); // freed at the end of the scope
 *   return b.linear(x, w, { activation: "silu" }); // [1, 3], lives on
 * });
 * console.log(await b.read(y));
 * await b.dispose();
 * ```
 */
export interface Backend {
  /** Its kind. `shapes` counts the work and does none. */
  readonly device: "reference" | "cpu" | "gpu" | "shapes";
  /** One line for people: kernels, threads, adapter. */
  readonly description: string;
  /** The most elements that one tensor can have, where the device has such a limit … */
  readonly maxElements?: number;
  /** … and what sets it. */
  readonly maxElementsReason?: string;

  // Weights: repacked once, kept until `dispose`.
  /** `[out, in]` matrices with the same `in`, stacked along `out`; biases likewise, or none. */
  linearWeight(weights: readonly HostTensor[], biases?: readonly HostTensor[]): Weight;
  /** `[out, in, k, k]`. */
  convWeight(weight: HostTensor, bias?: HostTensor): Weight;
  /** `[C]` and `[C]`. */
  normWeight(weight: HostTensor, bias: HostTensor): NormWeight;

  // Memory.
  /** A tensor of a copy of `data`, row-major. */
  upload(data: Float32Array, shape: readonly number[]): Tensor;
  /** A copy without row gaps; waits for the device. */
  read(x: Tensor): Promise<Float32Array>;
  /** Frees, at its end, whatever was made inside, except what it returns: that lives in the outer scope. */
  scope<T extends Scoped>(body: () => T): T;
  /** Takes a tensor or plan out of its scope; it then lives until `free`. */
  keep<T extends Tensor | MergePlan>(x: T): T;
  /** Frees what was kept. */
  free(x: Tensor | MergePlan): void;
  /** The most bytes that activations held at once since the last call with `reset`. */
  peakBytes(reset?: boolean): number;
  /** Images `from` to `to` (exclusive) of the first dimension; shares memory, and is not to be freed. */
  rows(x: Tensor, from: number, to: number): Tensor;
  /** Channels `from` to `to` (exclusive) of the last dimension; shares memory, and is not to be freed. */
  columns(x: Tensor, from: number, to: number): Tensor;
  /** The same rows under another shape with the same last dimension; a view like `rows`. */
  reshape(x: Tensor, shape: readonly number[]): Tensor;
  /** Uninitialised, to be filled with `write`. */
  empty(shape: readonly number[]): Tensor;
  /** Copies `source` over `target`, a tensor or view of the same shape. The only operation that changes a tensor. */
  write(target: Tensor, source: Tensor): void;

  // Layers.
  /** `[..., Cin]` → `[..., Cout]`. */
  linear(x: Tensor, w: Weight, options?: Epilogue): Tensor;
  /** `[B, H, W, Cin]` → `[B, H', W', Cout]`. */
  conv2d(x: Tensor, w: Weight, options?: ConvOptions): Tensor;
  /** `[B, H, W, C]` or `[B, N, C]`: normalised over rows and the channels of each group, then silu if asked. */
  groupNorm(x: Tensor, w: NormWeight, options: { groups: number; eps: number; silu?: boolean }): Tensor;
  /**
   * The two halves of `groupNorm`, for images normalised strip by strip: `[B, 2C]`, each channel's scale and
   * then each channel's shift; and x · scale + shift, then silu if asked. Bit for bit what `groupNorm` gives.
   */
  groupNormAffine(x: Tensor, w: NormWeight, options: { groups: number; eps: number }): Tensor;
  /** See `groupNormAffine`. */
  affine(x: Tensor, scaleShift: Tensor, options?: { silu?: boolean }): Tensor;
  /** `[..., C]`, each row normalised over its channels. */
  layerNorm(x: Tensor, w: NormWeight, options: { eps: number }): Tensor;
  /** q `[B, N, heads·D]`, k and v `[B, M, heads·D]` → `[B, N, heads·D]`; the N×M scores are never stored. */
  attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor;
  /** `[..., 2C]` → `[..., C]`: x[:C] · gelu(x[C:]). */
  geglu(x: Tensor): Tensor;
  /** Element-wise. */
  activation(x: Tensor, kind: Activation): Tensor;
  /** Nearest neighbour, `[B, H, W, C]` → `[B, height, width, C]`; height is 2H or 2H − 1, width likewise. */
  upsample(x: Tensor, height: number, width: number): Tensor;
  /** Along channels. */
  concat(a: Tensor, b: Tensor): Tensor;
  /** Along the first dimension. */
  stack(parts: readonly Tensor[]): Tensor;
  /** Σ coefficient · tensor, in the order given, for 1 to 6 tensors of one shape. */
  lincomb(terms: readonly (readonly [coefficient: number, x: Tensor])[]): Tensor;
  /** mask · a + (1 − mask) · b; the mask's last dimension is 1. */
  blend(mask: Tensor, a: Tensor, b: Tensor): Tensor;

  // Token merging.
  /** `[B, N, C]` → the plan that merges the r sources most similar to a destination. */
  match(metric: Tensor, options: MatchOptions): MergePlan;
  /** The first half of `match`, brought to the host. */
  bestMatches(metric: Tensor, options: Omit<MatchOptions, "r">): Promise<MatchValues>;
  /** A plan made on the host. Every row 0..N−R−1 must be the row of at least one token. */
  planFrom(values: PlanValues, shape: { batch: number; tokens: number; merged: number }): MergePlan;
  /** The values of a plan, on the host. */
  readPlan(plan: MergePlan): Promise<PlanValues>;
  /** `[B, N, C]` → `[B, N − R, C]`: each row is the mean of its tokens, added in ascending token order. */
  merge(plan: MergePlan, x: Tensor): Tensor;
  /** `[B, N − R, C]` → `[B, N, C]`: every token gets its row, plus the residual. */
  unmerge(plan: MergePlan, y: Tensor, residual?: Tensor): Tensor;

  /**
   * There where kernels are compiled at run time: begins to compile those that `body` calls for, all at once, and
   * returns. Nothing is computed, and what `body` makes must not leave it.
   */
  prepare?(body: () => void): void;

  /** Frees the device, its threads and all that lives on it. */
  dispose(): Promise<void>;
}
