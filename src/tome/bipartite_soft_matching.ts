/**
 * Token merging by itself, on plain arrays.
 *
 * @module
 */
import type { Backend, PlanValues } from "../backend/backend.ts";
import { cellCount, type Cells, splitTokens } from "../backend/token_lists.ts";
import { drawDestinations } from "./destinations.ts";

/**
 * What to match.
 *
 * @example
 * ```ts
 * import { bipartiteSoftMatchingRandom2d, createBackend, type SoftMatchingOptions } from "tome-edge";
 *
 * const options: SoftMatchingOptions = { batch: 1, width: 4, height: 4, channels: 2, sx: 2, sy: 2, r: 8, seed: 7 };
 * const backend = await createBackend("reference");
 * const metric = Float32Array.from({ length: 4 * 4 * 2 }, (_, i) => Math.sin(i));
 * console.log((await bipartiteSoftMatchingRandom2d(backend, metric, options)).r); // 8
 * await backend.dispose();
 * ```
 */
export interface SoftMatchingOptions {
  /** B: pictures, or sequences, in the arrays. */
  batch: number;
  /** Columns of the token grid: N = width · height, row-major. */
  width: number;
  /** Rows of the token grid. */
  height: number;
  /** C of the metric. */
  channels: number;
  /** Cells of sx columns × sy rows hold one destination each; 2 × 2 by default. */
  sx?: number;
  /** Rows of a cell; see `sx`. */
  sy?: number;
  /** Tokens to merge. More than there are sources is as many as there are; 0 or less merges nothing. */
  r: number;
  /**
   * Position of each cell's destination, row-major in its cell: `[⌊height/sy⌋ · ⌊width/sx⌋]` for the whole batch,
   * or as many for each image.
   */
  randIdx?: ArrayLike<number>;
  /** Where there is no `randIdx`: draws the positions, for the whole batch; 0 by default. */
  seed?: number;
  /** Takes the top left token of every cell, whatever `randIdx` and `seed` say. */
  noRand?: boolean;
}

/**
 * What was matched, and the two maps. It holds no device memory, so there is nothing to free.
 *
 * @example
 * ```ts
 * import { bipartiteSoftMatchingRandom2d, createBackend, type SoftMatching } from "tome-edge";
 *
 * const backend = await createBackend("reference");
 * const x = Float32Array.from([1, 0, 1, 0, 0, 1, 0, 1]); // 4 tokens of 2 channels
 * const plan: SoftMatching = await bipartiteSoftMatchingRandom2d(backend, x, {
 *   batch: 1, width: 4, height: 1, channels: 2, sx: 2, sy: 1, r: 2, noRand: true,
 * });
 * console.log(plan.srcIdx, plan.dstIdx, plan.unmIdx); // tokens [1, 3] merged into [0, 2], none stays
 * console.log(await plan.merge(x, 2)); // [1, 0, 0, 1]
 * await backend.dispose();
 * ```
 */
export interface SoftMatching {
  /** Tokens that each image loses. */
  readonly r: number;
  /** `[B, r]`: the merged tokens, most similar first. Numbers here and below are tokens, 0..N−1. */
  readonly srcIdx: Int32Array;
  /** `[B, r]`: what each of them merged into. */
  readonly dstIdx: Int32Array;
  /** `[B, Nsrc − r]`: the sources that stay, most similar first; ascending when nothing merges. */
  readonly unmIdx: Int32Array;
  /** `[B, N]`: the row of the merged matrix that each token goes to. */
  read(): PlanValues;
  /** `[B, N, C']` → `[B, N − r, C']`: the tokens of `unmIdx`, then all destinations, each the mean of its own. */
  merge(x: Float32Array, channels: number): Promise<Float32Array>;
  /** `[B, N − r, C']` → `[B, N, C']`: every token gets a copy of its row. */
  unmerge(y: Float32Array, channels: number): Promise<Float32Array>;
}

/**
 * Bipartite soft matching (arXiv 2303.17604, section 4) in the order of tomesd's
 * `bipartite_soft_matching_random2d`: by descending cosine similarity, ties by ascending token. Arrays of the
 * caller are copied, never kept. A grid without a whole cell has no destinations, and nothing merges.
 *
 * @throws {RangeError} for an array of the wrong length or an option out of range.
 *
 * @example
 * ```ts
 * import { bipartiteSoftMatchingRandom2d, createBackend } from "tome-edge";
 *
 * const backend = await createBackend("cpu");
 * const x = Float32Array.from({ length: 64 * 64 * 320 }, (_, i) => Math.sin(i));
 * const plan = await bipartiteSoftMatchingRandom2d(backend, x, {
 *   batch: 1, width: 64, height: 64, channels: 320, r: 2048, noRand: true,
 * });
 * const merged = await plan.merge(x, 320); // [1, 2048, 320]
 * const restored = await plan.unmerge(merged, 320); // [1, 4096, 320]
 * await backend.dispose();
 * ```
 */
export async function bipartiteSoftMatchingRandom2d(
  backend: Backend,
  metric: Float32Array,
  options: SoftMatchingOptions,
): Promise<SoftMatching> {
  const { batch, width, height, channels, sx = 2, sy = 2 } = options;
  for (const [name, value] of Object.entries({ batch, width, height, channels, sx, sy })) {
    if (!(Number.isSafeInteger(value) && value >= 1)) fail(name, "an integer of at least 1", value);
  }
  if (!Number.isInteger(options.r)) fail("r", "an integer", options.r);
  const tokens = width * height;
  needLength("metric", metric, [batch, tokens, channels]);
  const cells: Cells = { height, width, sx, sy };
  const destinations = cellCount(cells);
  const sources = tokens - destinations;
  const r = destinations === 0 ? 0 : Math.max(0, Math.min(sources, options.r));
  const randIdx = positions(cells, { ...options, destinations });

  const src = new Int32Array(batch * sources);
  const dst = new Int32Array(batch * destinations);
  for (let b = 0; b < batch; b++) {
    splitTokens(cells, {
      sources: src.subarray(b * sources, (b + 1) * sources),
      destinations: dst.subarray(b * destinations, (b + 1) * destinations),
      randIdx,
      from: b * destinations,
    });
  }
  if (r === 0) {
    const rowOf = Int32Array.from({ length: batch * tokens }, (_, i) => i % tokens);
    return matching(backend, {
      batch,
      tokens,
      r,
      rowOf,
      srcIdx: src.slice(0, 0),
      dstIdx: src.slice(0, 0),
      unmIdx: src,
    });
  }

  const x = backend.keep(backend.upload(metric, [batch, tokens, channels]));
  const { nodeMax, nodeIdx } = await backend.bestMatches(x, { ...cells, randIdx })
    .finally(() => backend.free(x));

  const kept = sources - r;
  const srcIdx = new Int32Array(batch * r);
  const dstIdx = new Int32Array(batch * r);
  const unmIdx = new Int32Array(batch * kept);
  const rowOf = new Int32Array(batch * tokens);
  for (let b = 0; b < batch; b++) {
    const at = b * sources;
    const order = Array.from({ length: sources }, (_, i) => i)
      .sort((i, j) => descending(nodeMax[at + i], nodeMax[at + j]) || i - j);
    for (const [rank, i] of order.entries()) {
      const token = src[at + i];
      const to = nodeIdx[at + i];
      if (rank < r) {
        srcIdx[b * r + rank] = token;
        dstIdx[b * r + rank] = dst[b * destinations + to];
        rowOf[b * tokens + token] = kept + to;
      } else {
        unmIdx[b * kept + rank - r] = token;
        rowOf[b * tokens + token] = rank - r;
      }
    }
    for (let d = 0; d < destinations; d++) rowOf[b * tokens + dst[b * destinations + d]] = kept + d;
  }
  return matching(backend, { batch, tokens, r, rowOf, srcIdx, dstIdx, unmIdx });
}

/** NaN, from a metric that has some, comes last. */
function descending(a: number, b: number): number {
  return a === b ? 0 : Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) || a > b ? -1 : 1;
}

interface Matched {
  batch: number;
  tokens: number;
  r: number;
  rowOf: Int32Array;
  srcIdx: Int32Array;
  dstIdx: Int32Array;
  unmIdx: Int32Array;
}

function matching(b: Backend, { batch, tokens, r, rowOf, srcIdx, dstIdx, unmIdx }: Matched): SoftMatching {
  const apply = async (map: "merge" | "unmerge", x: Float32Array, channels: number) => {
    if (!(Number.isSafeInteger(channels) && channels >= 1)) {
      fail("channels", "an integer of at least 1", channels);
    }
    const shape = [batch, map === "merge" ? tokens : tokens - r, channels];
    needLength(map === "merge" ? "x" : "y", x, shape);
    if (r === 0) return x.slice();
    const out = b.scope(() => {
      const plan = b.planFrom({ rowOf }, { batch, tokens, merged: r });
      return b.keep(b[map](plan, b.upload(x, shape)));
    });
    return await b.read(out).finally(() => b.free(out));
  };
  return {
    r,
    srcIdx,
    dstIdx,
    unmIdx,
    read: () => ({ rowOf: rowOf.slice() }),
    merge: (x, channels) => apply("merge", x, channels),
    unmerge: (y, channels) => apply("unmerge", y, channels),
  };
}

/** `[B, destinations]`, or nothing for the top left tokens. */
function positions(
  cells: Cells,
  options: Pick<SoftMatchingOptions, "batch" | "randIdx" | "seed" | "noRand"> & { destinations: number },
): Int32Array | undefined {
  const { batch, randIdx, seed, noRand, destinations } = options;
  if (seed !== undefined && !Number.isSafeInteger(seed)) fail("seed", "a safe integer", seed);
  const drawn = randIdx ?? drawDestinations(cells, { seed: seed ?? 0, block: 0, step: 0 });
  if (drawn.length !== destinations && drawn.length !== batch * destinations) {
    fail("randIdx", `${destinations} positions, or as many for each of ${batch} images`, `${drawn.length}`);
  }
  const count = cells.sx * cells.sy;
  for (let i = 0; i < drawn.length; i++) {
    if (!(Number.isInteger(drawn[i]) && drawn[i] >= 0 && drawn[i] < count)) {
      fail(`randIdx[${i}]`, `an integer in 0..${count - 1}`, drawn[i]);
    }
  }
  if (noRand) return undefined;
  return Int32Array.from({ length: batch * destinations }, (_, i) => drawn[i % drawn.length]);
}

function needLength(name: string, x: Float32Array, shape: readonly number[]): void {
  const length = shape.reduce((a, n) => a * n, 1);
  if (!(x instanceof Float32Array)) {
    throw new TypeError(`Cannot match tokens: expected ${name} to be a Float32Array, found ${typeof x}`);
  }
  if (x.length !== length) fail(name, `${length} values, [${shape.join(", ")}]`, `${x.length}`);
}

function fail(name: string, expected: string, found: unknown): never {
  throw new RangeError(`Cannot match tokens: expected ${name} to be ${expected}, found ${String(found)}`);
}
