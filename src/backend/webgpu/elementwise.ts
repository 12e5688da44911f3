/**
 * Element-wise operations and copies on the GPU. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import activationSource from "../../../kernels/activation.wgsl" with { type: "text" };
import blendSource from "../../../kernels/blend.wgsl" with { type: "text" };
import copyRowsSource from "../../../kernels/copy_rows.wgsl" with { type: "text" };
import gegluSource from "../../../kernels/geglu.wgsl" with { type: "text" };
import lincombSource from "../../../kernels/lincomb.wgsl" with { type: "text" };
import upsampleSource from "../../../kernels/upsample.wgsl" with { type: "text" };
import type { Activation } from "../backend.ts";
import { laneKernels, rowLayout, runLayout } from "./lanes.ts";
import { foldGroups, type GpuRuntime, type GpuTensor, matrix } from "./runtime.ts";

const KERNELS = {
  activation: laneKernels("activation", activationSource, { act: true }),
  blend: laneKernels("blend", blendSource),
  copyRows: laneKernels("copy_rows", copyRowsSource),
  geglu: laneKernels("geglu", gegluSource, { act: true }),
  lincomb: laneKernels("lincomb", lincombSource),
  upsample: laneKernels("upsample", upsampleSource),
};

/** Workgroups of 256 threads, one per unit of the output. */
export const groupsOf = (count: number) => foldGroups(Math.ceil(count / 256));

const KINDS: Record<Activation, number> = { silu: 1, gelu: 2, quick_gelu: 3 };

export function activation(rt: GpuRuntime, x: GpuTensor, kind: Activation): GpuTensor {
  const y = rt.alloc(x.shape);
  const { lanes, cols, count, at } = runLayout([x]);
  rt.run(KERNELS.activation[lanes], [count, cols, ...at(x), KINDS[kind]], [x, y], groupsOf(count));
  return y;
}

export function geglu(rt: GpuRuntime, x: GpuTensor): GpuTensor {
  const half = matrix(x).cols / 2;
  const y = rt.alloc([...x.shape.slice(0, -1), half]);
  const { lanes, cols, count, at } = rowLayout([x], half);
  rt.run(KERNELS.geglu[lanes], [count, cols, ...at(x)], [x, y], groupsOf(count));
  return y;
}

export function upsample(rt: GpuRuntime, x: GpuTensor, height: number, width: number): GpuTensor {
  const [batch, h, w] = x.shape;
  const { lanes, cols, at } = rowLayout([x]);
  const y = rt.alloc([batch, height, width, cols * lanes]);
  const count = batch * height * width * cols;
  rt.run(
    KERNELS.upsample[lanes],
    [count, cols, ...at(x), h, w, height, width],
    [x, y],
    groupsOf(count),
  );
  return y;
}

/** Copies `source` over `target`: one shape, any strides; both may be views of one buffer. */
export function copyRows(rt: GpuRuntime, target: GpuTensor, source: GpuTensor): void {
  if (target.buffer === source.buffer) { // which one dispatch may not both read and write
    const between = rt.alloc(source.shape);
    copyRows(rt, between, source);
    copyRows(rt, target, between);
    rt.release(between);
    return;
  }
  const { lanes, cols, count, at } = runLayout([source, target]);
  rt.run(
    KERNELS.copyRows[lanes],
    [count, cols, ...at(source), ...at(target)],
    [source, target],
    groupsOf(count),
  );
}

/** A part of a tensor without gaps that starts at its first element plus `from`. */
const part = ({ buffer, offset }: GpuTensor, shape: readonly number[], from: number, stride: number) => ({
  buffer,
  offset: offset + from,
  shape,
  stride,
});

/** Along channels. */
export function concat(rt: GpuRuntime, a: GpuTensor, b: GpuTensor): GpuTensor {
  const left = matrix(a).cols;
  const stride = left + matrix(b).cols;
  const y = rt.alloc([...a.shape.slice(0, -1), stride]);
  copyRows(rt, part(y, a.shape, 0, stride), a);
  copyRows(rt, part(y, b.shape, left, stride), b);
  return y;
}

/** Along the first dimension. */
export function stack(rt: GpuRuntime, parts: readonly GpuTensor[]): GpuTensor {
  const images = parts.reduce((sum, x) => sum + x.shape[0], 0);
  const y = rt.alloc([images, ...parts[0].shape.slice(1)]);
  let from = 0;
  for (const x of parts) {
    const { rows, cols } = matrix(x);
    copyRows(rt, part(y, x.shape, from, cols), x);
    from += rows * cols;
  }
  return y;
}

const MAX_TERMS = 6;

/** Coefficients are rounded to f32. */
export function lincomb(
  rt: GpuRuntime,
  terms: readonly (readonly [coefficient: number, x: GpuTensor])[],
): GpuTensor {
  const tensors = terms.map(([, x]) => x);
  const coefficients = rt.allocBytes(4 * MAX_TERMS);
  rt.write(coefficients, Float32Array.from({ length: MAX_TERMS }, (_, i) => terms[i]?.[0] ?? 0));
  const y = rt.alloc(tensors[0].shape);
  const { lanes, cols, count, at } = runLayout(tensors);
  const bound = Array.from({ length: MAX_TERMS }, (_, i) => tensors[i] ?? tensors[0]);
  rt.run(
    KERNELS.lincomb[lanes],
    [count, cols, terms.length, ...bound.flatMap(at)],
    [...bound, coefficients, y],
    groupsOf(count),
  );
  rt.release(coefficients);
  return y;
}

export function blend(rt: GpuRuntime, mask: GpuTensor, a: GpuTensor, b: GpuTensor): GpuTensor {
  const y = rt.alloc(a.shape);
  const { lanes, cols, count, at } = rowLayout([a, b]);
  rt.run(
    KERNELS.blend[lanes],
    [count, cols, mask.offset, mask.stride, ...at(a), ...at(b)],
    [mask, a, b, y],
    groupsOf(count),
  );
  return y;
}
