/**
 * Layer norm and group norm on the thread pool. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import { Op } from "../../../asm/op.ts";
import { splitRows } from "./elementwise.ts";
import { f32Bits, matrix, type Runtime, type WasmTensor } from "./runtime.ts";

/** Scale and shift of a normalisation, `[C]` each. */
export interface NormParameters {
  readonly gamma: WasmTensor;
  readonly beta: WasmTensor;
}

export function layerNorm(
  rt: Runtime,
  x: WasmTensor,
  { gamma, beta }: NormParameters,
  { eps }: { eps: number },
): WasmTensor {
  const y = rt.alloc(x.shape);
  const { rows, cols } = matrix(x);
  const { perTask, tasks } = splitRows(rows, cols);
  rt.run(Op.LayerNorm, tasks, [
    x.ptr,
    x.stride,
    y.ptr,
    gamma.ptr,
    beta.ptr,
    f32Bits(eps),
    rows,
    cols,
    perTask,
  ]);
  return y;
}

/** `[B, 2C]`: each channel's scale, then each channel's shift. Blocks of rows depend on one image's shape only. */
export function groupNormAffine(
  rt: Runtime,
  x: WasmTensor,
  { gamma, beta }: NormParameters,
  { groups, eps }: { groups: number; eps: number },
): WasmTensor {
  const batch = x.shape[0];
  const { rows: all, cols } = matrix(x);
  const rows = all / batch;
  const { perTask, tasks: blocks } = splitRows(rows, cols);
  const scaleShift = rt.alloc([batch, 2 * cols]);
  const partial = rt.allocBytes(16 * batch * blocks * groups);
  rt.run(Op.GroupNormStats, batch * blocks, [x.ptr, x.stride, partial, rows, cols, groups, perTask, blocks]);
  rt.run(Op.GroupNormAffine, batch, [
    partial,
    scaleShift.ptr,
    gamma.ptr,
    beta.ptr,
    f32Bits(eps),
    rows,
    cols,
    groups,
    blocks,
  ]);
  rt.release(partial);
  return scaleShift;
}

/** x · scale + shift, then silu if asked. */
export function affine(
  rt: Runtime,
  x: WasmTensor,
  scaleShift: WasmTensor,
  { silu = false }: { silu?: boolean } = {},
): WasmTensor {
  const y = rt.alloc(x.shape);
  const { rows: all, cols } = matrix(x);
  const { perTask, tasks } = splitRows(all, cols);
  rt.run(Op.GroupNormApply, tasks, [
    x.ptr,
    x.stride,
    y.ptr,
    scaleShift.ptr,
    scaleShift.stride,
    all,
    all / x.shape[0],
    cols,
    perTask,
    silu ? 1 : 0,
  ]);
  return y;
}

export function groupNorm(
  rt: Runtime,
  x: WasmTensor,
  w: NormParameters,
  { groups, eps, silu }: { groups: number; eps: number; silu?: boolean },
): WasmTensor {
  const scaleShift = groupNormAffine(rt, x, w, { groups, eps });
  const y = affine(rt, x, scaleShift, { silu });
  rt.release(scaleShift);
  return y;
}
