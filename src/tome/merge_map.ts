import { cellCount, type Cells, splitTokens } from "../backend/token_lists.ts";

/**
 * What one transformer block merged for one picture in one step: plain data, to print, store or draw.
 *
 * @example
 * ```ts
 * import { loadPipeline, type MergeMap } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const options = { prompt: "a red apple", width: 64, height: 64, steps: 2, tokenMerging: { ratio: 0.5 } };
 * for await (const step of pipe.steps({ ...options, mergeMaps: true })) {
 *   const map: MergeMap = step.mergeMaps![0];
 *   const merged = map.into.filter((target, token) => target !== token).length;
 *   console.log(map.name, `${map.width} × ${map.height}`, merged === map.r); // …, 16 × 16, true
 * }
 * await pipe.dispose();
 * ```
 */
export interface MergeMap {
  /** Checkpoint path of the transformer block. */
  name: string;
  /** Columns of the token grid. */
  width: number;
  /** Rows of the token grid. */
  height: number;
  /** Number of the picture in its run, from 0. With guidance, the prompted branch is shown. */
  image: number;
  /** Tokens that were merged away. */
  r: number;
  /** `[height · width]`: the token that each token was merged into; itself where it stayed. */
  into: Int32Array;
}

/**
 * The tokens that a plan's rows stand for.
 *
 * @param rowOf `[N]` of one image, as a plan is read
 * @param drawn where the destinations are in their cells: `[destinations]` of that image, or none for the top left
 */
export function tokensMergedInto(rowOf: Int32Array, cells: Cells, drawn?: Int32Array): Int32Array {
  const destinations = new Int32Array(cellCount(cells));
  splitTokens(cells, {
    sources: new Int32Array(rowOf.length - destinations.length),
    destinations,
    randIdx: drawn,
  });
  const rows = rowOf.reduce((most, row) => Math.max(most, row), 0) + 1;
  const kept = rows - destinations.length; // unmerged sources come first
  return rowOf.map((row, token) => row < kept ? token : destinations[row - kept]);
}
