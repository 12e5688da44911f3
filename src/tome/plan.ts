/**
 * Planning the merge of one transformer block.
 *
 * @module
 */
import type { Backend, MergePlan, Tensor } from "../backend/backend.ts";
import { cellCount, type Cells } from "../backend/token_lists.ts";
import { blockKey, fillDestinations } from "./destinations.ts";
import { downsampling } from "./downsample.ts";
import type { TokenMergingOptions } from "./options.ts";

/** Token counts of a block that merging was planned for: plain data. */
export interface LayerTokens {
  /** Checkpoint path of the transformer block. */
  name: string;
  before: number;
  after: number;
}

/** What one network call merges. */
export interface MergeContext {
  options: Readonly<Required<TokenMergingOptions>>;
  latentHeight: number;
  latentWidth: number;
  /** One for each image. The batch is `branches` times the images in this order: all unprompted, all prompted. */
  seeds: readonly number[];
  /** 2 with guidance, otherwise 1. */
  branches: number;
  /** Number of the network call in its run. */
  step: number;
  /**
   * Called for every block, also where nothing merges (`after` is `before`, no plan). The plan dies with the
   * block's scope unless it is `keep`t.
   */
  onPlan?: (layer: LayerTokens, plan?: MergePlan, matched?: Matched) => void;
}

/** What a plan was matched on. */
export interface Matched {
  cells: Cells;
  /** `[B, destinations]`; the top left token of each cell when absent. */
  randIdx?: Int32Array;
}

/** A block's own part of the context. */
export interface LayerContext {
  /** Nothing merges when absent. */
  merging?: MergeContext;
  name: string;
  /** Grid of the block's tokens, as they are: odd sizes need no rounding. */
  height: number;
  width: number;
}

/** The two maps around a layer f: x + unmerge(f(merge(norm(x)))). */
export interface LayerMerge {
  /** `[B, N, C]` → `[B, N − R, C]` */
  merge(x: Tensor): Tensor;
  /** `[B, N − R, C]` → `[B, N, C]`, plus the residual `[B, N, C]`. */
  unmerge(y: Tensor, residual: Tensor): Tensor;
}

/** One plan for three layers. A part is undefined where its layer sees all tokens. */
export interface LayerPlan {
  attn?: LayerMerge;
  cross?: LayerMerge;
  mlp?: LayerMerge;
}

const NOTHING: LayerPlan = Object.freeze({});

/**
 * The merge of a block by its input x `[B, N, C]`, before the first norm: as arXiv 2303.17604, section 4, and
 * tomesd's `compute_merge`. The plan belongs to the current scope.
 */
export function planLayer(b: Backend, x: Tensor, { merging, name, height, width }: LayerContext): LayerPlan {
  if (!merging) return NOTHING;
  const { options, onPlan } = merging;
  const [batch, before] = x.shape;
  const cells: Cells = { height, width, sx: options.sx, sy: options.sy };
  const destinations = cellCount(cells);
  const r = Math.min(before - destinations, Math.floor(before * options.ratio));
  const latent = { height: merging.latentHeight, width: merging.latentWidth };
  const wanted = options.mergeAttn || options.mergeCrossAttn || options.mergeMlp;
  if (!wanted || r <= 0 || destinations === 0 || downsampling(latent, before) > options.maxDownsample) {
    onPlan?.({ name, before, after: before });
    return NOTHING;
  }
  const randIdx = drawBatch(merging, { batch, destinations, name });
  const plan = b.match(x, { ...cells, r, randIdx, name });
  onPlan?.({ name, before, after: before - plan.merged }, plan, { cells, randIdx });
  const maps: LayerMerge = {
    merge: (x) => b.merge(plan, x),
    unmerge: (y, residual) => b.unmerge(plan, y, residual),
  };
  return {
    attn: options.mergeAttn ? maps : undefined,
    cross: options.mergeCrossAttn ? maps : undefined,
    mlp: options.mergeMlp ? maps : undefined,
  };
}

/** `[B, destinations]`, or nothing: the top left tokens. */
function drawBatch(
  { options, seeds, branches, step }: MergeContext,
  { batch, destinations, name }: { batch: number; destinations: number; name: string },
): Int32Array | undefined {
  if (batch !== seeds.length * branches) {
    throw new RangeError(
      `Cannot plan the merge of "${name}": expected ${branches} branches of ${seeds.length} images, ` +
        `found a batch of ${batch}`,
    );
  }
  const { sx, sy, useRand, randomness } = options;
  const shared = randomness === "tomesd";
  // tomesd's rule for a batch that cannot be whole pairs: halves with different destinations ruin the guidance.
  if (!useRand || (shared && batch % 2 === 1)) return undefined;
  const randIdx = new Int32Array(batch * destinations);
  const draws = shared ? 1 : seeds.length;
  const block = blockKey(name);
  for (let i = 0; i < draws; i++) {
    const draw = randIdx.subarray(i * destinations, (i + 1) * destinations);
    fillDestinations(draw, sx * sy, { seed: seeds[i], block, step });
  }
  const drawn = draws * destinations;
  for (let at = drawn; at < randIdx.length; at += drawn) randIdx.copyWithin(at, 0, drawn);
  return randIdx;
}
