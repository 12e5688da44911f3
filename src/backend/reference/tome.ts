/**
 * Token merging, slow and obvious. The rules are in `MatchOptions` and `MergePlan`; arXiv 2303.17604.
 *
 * @module
 */
import type { MatchOptions, MatchValues } from "../backend.ts";
import type { RefPlan, RefTensor } from "./tensor.ts";

type Grid = Omit<MatchOptions, "r">;

/** Destinations and sources of image b, both in ascending token order. */
function splitTokens(b: number, { height, width, sx, sy, randIdx }: Grid): { dst: number[]; src: number[] } {
  const cellRows = Math.floor(height / sy), cellCols = Math.floor(width / sx);
  const isDst = new Uint8Array(height * width);
  for (let cell = 0; cell < cellRows * cellCols; cell++) {
    const at = randIdx?.[b * cellRows * cellCols + cell] ?? 0;
    const y = Math.floor(cell / cellCols) * sy + Math.floor(at / sx);
    const x = cell % cellCols * sx + at % sx;
    isDst[y * width + x] = 1;
  }
  const tokens = Array.from(isDst.keys());
  return { dst: tokens.filter((n) => isDst[n]), src: tokens.filter((n) => !isDst[n]) };
}

/** The row at length one, each value rounded to f32; zeros stay zeros. */
function normalised(row: Float32Array): Float32Array {
  let squares = 0;
  for (const v of row) squares += v * v;
  return squares === 0 ? row.slice() : row.map((v) => v / Math.sqrt(squares));
}

export function bestMatches(metric: RefTensor, grid: Grid): MatchValues {
  const [batch, tokens] = metric.shape;
  const sources = splitTokens(0, grid).src.length;
  const nodeMax = new Float32Array(batch * sources), nodeIdx = new Int32Array(batch * sources);
  for (let b = 0; b < batch; b++) {
    const { dst, src } = splitTokens(b, grid);
    const unit = Array.from({ length: tokens }, (_, n) => normalised(metric.row(b * tokens + n)));
    for (const [s, token] of src.entries()) {
      const p = unit[token];
      let best = -Infinity, at = 0;
      for (let d = 0; d < dst.length; d++) {
        const q = unit[dst[d]];
        let dot = 0;
        for (let c = 0; c < p.length; c++) dot += p[c] * q[c];
        dot = Math.fround(dot); // a tie is one of f32 values
        if (dot > best) best = dot, at = d;
      }
      nodeMax[b * sources + s] = best;
      nodeIdx[b * sources + s] = at;
    }
  }
  return { nodeMax, nodeIdx };
}

/** `[B, N]`: the row of the merged matrix that each token goes to. */
export function match(metric: RefTensor, options: MatchOptions): Int32Array {
  const [batch, tokens] = metric.shape;
  const { nodeMax, nodeIdx } = bestMatches(metric, options);
  const rowOf = new Int32Array(batch * tokens);
  for (let b = 0; b < batch; b++) {
    const { dst, src } = splitTokens(b, options);
    const score = nodeMax.subarray(b * src.length, (b + 1) * src.length);
    const byScore = Array.from(src.keys()).sort((i, j) => score[j] - score[i] || i - j);
    const chosen = new Set(byScore.slice(0, options.r));
    const unmerged = src.length - options.r;
    for (const [d, token] of dst.entries()) rowOf[b * tokens + token] = unmerged + d;
    let row = 0;
    for (const [s, token] of src.entries()) {
      rowOf[b * tokens + token] = chosen.has(s) ? unmerged + nodeIdx[b * src.length + s] : row++;
    }
  }
  return rowOf;
}

export function merge(out: RefTensor, plan: RefPlan, x: RefTensor): void {
  const { batch, tokens } = plan, kept = tokens - plan.merged;
  const sums = new Float64Array(out.rows * out.cols), counts = new Float64Array(out.rows);
  for (let n = 0; n < batch * tokens; n++) {
    const to = Math.floor(n / tokens) * kept + plan.storage.rowOf[n], row = x.row(n);
    counts[to]++;
    for (let c = 0; c < row.length; c++) sums[to * row.length + c] += row[c];
  }
  for (let r = 0; r < out.rows; r++) {
    const row = out.row(r);
    for (let c = 0; c < row.length; c++) row[c] = sums[r * row.length + c] / counts[r];
  }
}

export function unmerge(out: RefTensor, plan: RefPlan, y: RefTensor, residual?: RefTensor): void {
  const { tokens } = plan, kept = tokens - plan.merged;
  for (let n = 0; n < out.rows; n++) {
    const from = y.row(Math.floor(n / tokens) * kept + plan.storage.rowOf[n]);
    const to = out.row(n), added = residual?.row(n);
    for (let c = 0; c < to.length; c++) to[c] = from[c] + (added?.[c] ?? 0);
  }
}
