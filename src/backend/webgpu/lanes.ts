/**
 * Kernels in two variants, four elements at a time where every row starts at a multiple of four, or one; and how
 * tensors of one shape lie in units of that. WGSL has no generic types, so that a few lines of text go before
 * the source.
 *
 * @module
 */
import activationSource from "../../../kernels/inline/activation.wgsl" with { type: "text" };
import { type GpuTensor, type Kernel, matrix } from "./runtime.ts";

export type Lanes = 1 | 4;

const TYPES: Record<Lanes, string> = {
  1: `const V = 1u;
alias T = F;
alias T32 = f32;
fn lane_of(v: f32, lane: u32) -> f32 { return v; }
fn total_of(v: f32) -> f32 { return v; }
`,
  4: `const V = 4u;
alias T = F4;
alias T32 = vec4f;
fn lane_of(v: vec4f, lane: u32) -> f32 { return v[lane]; }
fn total_of(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }
`,
};

const ACT: Record<Lanes, string> = {
  1: `fn act(v: f32, kind: u32) -> f32 { return activate(vec4f(v), kind).x; }\n`,
  4: `fn act(v: vec4f, kind: u32) -> vec4f { return activate(v, kind); }\n`,
};

/** The two variants of a kernel that calls elements T, and T32 once widened; `act` is there if asked for. */
export function laneKernels(
  name: string,
  source: string,
  { act = false, shared }: { act?: boolean; shared?: Kernel["shared"] } = {},
): Record<Lanes, Kernel> {
  const variant = (lanes: Lanes): Kernel => ({
    name: `${name}_x${lanes}`,
    source: TYPES[lanes] + (act ? `${activationSource}\n${ACT[lanes]}` : "") + source,
    shared,
  });
  return { 1: variant(1), 4: variant(4) };
}

/** How tensors of one number of rows lie, in units of `lanes` elements. */
export interface LaneLayout {
  readonly lanes: Lanes;
  /** Of the first tensor. */
  readonly cols: number;
  readonly count: number;
  /** Offset and row stride of a tensor. */
  at(x: GpuTensor): readonly [offset: number, stride: number];
}

/** Four at a time if no row of any tensor, nor `also`, is off a multiple of four. */
function lanesOf(tensors: readonly GpuTensor[], also: number): Lanes {
  const bits = tensors.reduce((all, x) => all | x.offset | (matrix(x).rows > 1 ? x.stride : 0), also);
  return bits % 4 === 0 ? 4 : 1;
}

/** Row by row; `cols` are what a thread's index counts, the width of the first tensor unless given. */
export function rowLayout(tensors: readonly GpuTensor[], cols = matrix(tensors[0]).cols): LaneLayout {
  const lanes = lanesOf(tensors, cols);
  return {
    lanes,
    cols: cols / lanes,
    count: matrix(tensors[0]).rows * cols / lanes,
    at: (x) => [x.offset / lanes, matrix(x).rows > 1 ? x.stride / lanes : 0],
  };
}

/** Tensors of one shape; where none has gaps, as one row. */
export function runLayout(tensors: readonly GpuTensor[]): LaneLayout {
  const { rows, cols } = matrix(tensors[0]);
  if (rows > 1 && tensors.some((x) => x.stride !== cols)) return rowLayout(tensors);
  const values = rows * cols;
  const lanes = tensors.reduce((all, x) => all | x.offset, values) % 4 === 0 ? 4 : 1;
  return { lanes, cols: values / lanes, count: values / lanes, at: (x) => [x.offset / lanes, 0] };
}
