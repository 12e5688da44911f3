/**
 * Layer norm and group norm on the GPU. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import affineSource from "../../../kernels/affine.wgsl" with { type: "text" };
import groupNormAffineSource from "../../../kernels/group_norm_affine.wgsl" with { type: "text" };
import groupNormStatsSource from "../../../kernels/group_norm_stats.wgsl" with { type: "text" };
import layerNormSource from "../../../kernels/layer_norm.wgsl" with { type: "text" };
import { groupsOf } from "./elementwise.ts";
import { laneKernels, rowLayout } from "./lanes.ts";
import { f32Bits, foldGroups, type GpuRuntime, type GpuTensor, type Kernel, matrix } from "./runtime.ts";

/** Scale and shift of a normalisation, `[C]` each: f32 on every device, since they are few. */
export interface NormParameters {
  readonly gamma: GPUBuffer;
  readonly beta: GPUBuffer;
}

export function normParameters(
  rt: GpuRuntime,
  { name, gamma, beta }: { name: string; gamma: Float32Array; beta: Float32Array },
): NormParameters {
  return { gamma: rt.reserve(gamma, `${name}.weight`), beta: rt.reserve(beta, `${name}.bias`) };
}

const LAYER_NORM = laneKernels("layer_norm", layerNormSource, { shared: ["sum"] });
const AFFINE = laneKernels("affine", affineSource, { act: true });
const STATS = laneKernels("group_norm_stats", groupNormStatsSource);
const GROUP_NORM_AFFINE: Kernel = {
  name: "group_norm_affine",
  source: groupNormAffineSource,
  shared: ["sum"],
};

const sizedKernels = new Map<string, Kernel>();

/** A kernel with these constants, one object for each choice of them. */
function sized(kernel: Kernel, constants: Record<string, number>): Kernel {
  const key = [kernel.name, ...Object.values(constants)].join(" ");
  let found = sizedKernels.get(key);
  if (!found) {
    found = { ...kernel, constants };
    sizedKernels.set(key, found);
  }
  return found;
}

/** The least power of two that is at least `count`, or `most`. */
function powerOfTwo(count: number, most: number): number {
  let power = 1;
  while (power < count && power < most) power *= 2;
  return power;
}

export function layerNorm(
  rt: GpuRuntime,
  x: GpuTensor,
  { gamma, beta }: NormParameters,
  { eps }: { eps: number },
): GpuTensor {
  const y = rt.alloc(x.shape);
  const { rows } = matrix(x);
  const { lanes, cols, at } = rowLayout([x]);
  rt.run(
    sized(LAYER_NORM[lanes], { WG: powerOfTwo(cols, 64) }),
    [rows, cols, ...at(x), f32Bits(eps)],
    [x, gamma, beta, y],
    foldGroups(rows),
  );
  return y;
}

/** Columns side by side in a workgroup: 256 bytes of f32 are enough for whole cache lines. */
const MAX_COLUMNS = 16;
/** A block has at least so many rows, so that combining blocks costs little beside summing them. */
const MIN_BLOCK_ROWS = 128;
/** A workgroup of 256 threads would wait at its barriers for so few channels and blocks of a group. */
const FEW_ENTRIES = 32;
/** Per image; enough to fill a large device. */
const MAX_BLOCKS = 256;

/** Scales and shifts of f16 whose rows go on with what rounding lost. */
const refined = new WeakSet<GpuTensor>();

/** `[B, 2C]` for `affine`; where F is f16, the columns beyond hold what rounding lost. */
function allocScaleShift(rt: GpuRuntime, batch: number, channels: number): GpuTensor {
  if (!rt.f16) return rt.alloc([batch, 2 * channels]);
  const made = { ...rt.alloc([batch, 4 * channels]), shape: [batch, 2 * channels] };
  refined.add(made);
  return made;
}

/** `[B, 2C]`: each channel's scale, then each channel's shift. */
export function groupNormAffine(
  rt: GpuRuntime,
  x: GpuTensor,
  { gamma, beta }: NormParameters,
  { groups, eps }: { groups: number; eps: number },
): GpuTensor {
  const batch = x.shape[0];
  const { rows: all, cols: channels } = matrix(x);
  const rows = all / batch;
  const scaleShift = allocScaleShift(rt, batch, channels);
  const { lanes, cols, at } = rowLayout([x]);
  const columns = powerOfTwo(cols, MAX_COLUMNS);
  const blockRows = Math.max(MIN_BLOCK_ROWS, Math.ceil(rows / MAX_BLOCKS));
  const blocks = Math.ceil(rows / blockRows);
  const chunks = Math.ceil(cols / columns);
  const partial = rt.allocBytes(8 * batch * blocks * channels);
  const tasks = batch * blocks * chunks;
  rt.run(
    sized(STATS[lanes], { TX: columns, TY: 256 / columns }),
    [tasks, chunks, blocks, rows, blockRows, cols, ...at(x)],
    [x, partial],
    foldGroups(tasks),
  );
  const entries = blocks * channels / groups;
  rt.run(
    sized(GROUP_NORM_AFFINE, { WG: entries > FEW_ENTRIES ? 256 : FEW_ENTRIES }),
    [batch * groups, groups, blocks, rows, blockRows, channels, f32Bits(eps), scaleShift.stride],
    [partial, gamma, beta, scaleShift],
    foldGroups(batch * groups),
  );
  rt.release(partial);
  return scaleShift;
}

/** x · scale + shift, then silu if asked. */
export function affine(
  rt: GpuRuntime,
  x: GpuTensor,
  scaleShift: GpuTensor,
  { silu = false }: { silu?: boolean } = {},
): GpuTensor {
  const y = rt.alloc(x.shape);
  const { lanes, cols, count, at } = rowLayout([x, scaleShift], matrix(x).cols);
  rt.run(
    AFFINE[lanes],
    [
      count,
      cols,
      matrix(x).rows / x.shape[0],
      ...at(x),
      ...at(scaleShift),
      silu ? 1 : 0,
      refined.has(scaleShift) ? 1 : 0,
    ],
    [x, scaleShift, y],
    groupsOf(count),
  );
  return y;
}

export function groupNorm(
  rt: GpuRuntime,
  x: GpuTensor,
  w: NormParameters,
  { groups, eps, silu }: { groups: number; eps: number; silu?: boolean },
): GpuTensor {
  const scaleShift = groupNormAffine(rt, x, w, { groups, eps });
  const y = affine(rt, x, scaleShift, { silu });
  rt.release(scaleShift);
  return y;
}
