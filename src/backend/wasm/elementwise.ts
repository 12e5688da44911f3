/**
 * Element-wise operations and copies on the thread pool. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import { Op } from "../../../asm/op.ts";
import type { Activation } from "../backend.ts";
import { f32Bits, matrix, type Runtime, type WasmTensor } from "./runtime.ts";

/** About 10 to 20 µs of work: a task costs a tenth of a microsecond, a dispatch 1 to 2. */
const TASK_VALUES = 16384;
/** Width of the rows in which a run without gaps is cut. */
const RUN_COLS = 2048;

/** Rows per task, and tasks: from the shape alone, so that the number of threads changes nothing. */
export function splitRows(rows: number, cols: number): { perTask: number; tasks: number } {
  const wanted = Math.min(rows, Math.max(1, Math.round((rows * cols) / TASK_VALUES)));
  const perTask = Math.ceil(rows / wanted);
  return { perTask, tasks: Math.ceil(rows / perTask) };
}

interface Rows {
  rows: number;
  cols: number;
  perTask: number;
  tasks: number;
  values: number;
  /** The stride of a tensor of these rows. */
  stride(x: WasmTensor): number;
}

/** Tensors of one shape as rows; where none has gaps, as one run, cut to even rows. */
function rowsOf(tensors: readonly WasmTensor[]): Rows {
  const { rows, cols } = matrix(tensors[0]);
  const values = rows * cols;
  if (tensors.some((x) => x.stride !== cols && rows > 1)) {
    return { rows, cols, ...splitRows(rows, cols), values, stride: (x) => x.stride };
  }
  const width = Math.min(values, RUN_COLS);
  const count = Math.ceil(values / width);
  return { rows: count, cols: width, ...splitRows(count, width), values, stride: () => width };
}

const kinds: Record<Activation, number> = { silu: 1, gelu: 2, quick_gelu: 3 };

export function activation(rt: Runtime, x: WasmTensor, kind: Activation): WasmTensor {
  const y = rt.alloc(x.shape);
  const { rows, cols, perTask, tasks, values, stride } = rowsOf([x]);
  rt.run(Op.Activation, tasks, [x.ptr, stride(x), y.ptr, kinds[kind], rows, cols, perTask, values]);
  return y;
}

export function geglu(rt: Runtime, x: WasmTensor): WasmTensor {
  const { rows, cols: twice } = matrix(x);
  const cols = twice / 2;
  const y = rt.alloc([...x.shape.slice(0, -1), cols]);
  const { perTask, tasks } = splitRows(rows, cols);
  rt.run(Op.Geglu, tasks, [x.ptr, x.stride, y.ptr, rows, cols, perTask]);
  return y;
}

export function upsample(rt: Runtime, x: WasmTensor, height: number, width: number): WasmTensor {
  const [batch, h, w, cols] = x.shape;
  const y = rt.alloc([batch, height, width, cols]);
  const rows = batch * height;
  const { perTask, tasks } = splitRows(rows, width * cols);
  rt.run(Op.Upsample, tasks, [x.ptr, x.stride, y.ptr, rows, h, w, height, width, cols, perTask]);
  return y;
}

/** Copies `source` over `target`: one shape, any strides. */
export function copyRows(rt: Runtime, target: WasmTensor, source: WasmTensor): void {
  const { rows, cols, perTask, tasks, values, stride } = rowsOf([source, target]);
  rt.run(Op.CopyRows, tasks, [
    source.ptr,
    stride(source),
    target.ptr,
    stride(target),
    rows,
    cols,
    perTask,
    values,
  ]);
}

/** Along channels. */
export function concat(rt: Runtime, a: WasmTensor, b: WasmTensor): WasmTensor {
  const left = matrix(a).cols;
  const stride = left + matrix(b).cols;
  const y = rt.alloc([...a.shape.slice(0, -1), stride]);
  copyRows(rt, { shape: a.shape, stride, ptr: y.ptr }, a);
  copyRows(rt, { shape: b.shape, stride, ptr: y.ptr + 4 * left }, b);
  return y;
}

/** Along the first dimension. */
export function stack(rt: Runtime, parts: readonly WasmTensor[]): WasmTensor {
  const images = parts.reduce((sum, part) => sum + part.shape[0], 0);
  const y = rt.alloc([images, ...parts[0].shape.slice(1)]);
  let ptr = y.ptr;
  for (const part of parts) {
    const { rows, cols } = matrix(part);
    copyRows(rt, { shape: part.shape, stride: cols, ptr }, part);
    ptr += 4 * rows * cols;
  }
  return y;
}

/** Coefficients are rounded to f32. */
export function lincomb(
  rt: Runtime,
  terms: readonly (readonly [coefficient: number, x: WasmTensor])[],
): WasmTensor {
  const tensors = terms.map(([, x]) => x);
  const y = rt.alloc(tensors[0].shape);
  const { rows, cols, perTask, tasks, values, stride } = rowsOf(tensors);
  rt.run(Op.Lincomb, tasks, [
    y.ptr,
    rows,
    cols,
    perTask,
    values,
    terms.length,
    ...terms.flatMap(([coefficient, x]) => [x.ptr, stride(x), f32Bits(coefficient)]),
  ]);
  return y;
}

export function blend(rt: Runtime, mask: WasmTensor, a: WasmTensor, b: WasmTensor): WasmTensor {
  const y = rt.alloc(a.shape);
  const { rows, cols } = matrix(a);
  const { perTask, tasks } = splitRows(rows, cols);
  rt.run(Op.Blend, tasks, [
    mask.ptr,
    mask.stride,
    a.ptr,
    a.stride,
    b.ptr,
    b.stride,
    y.ptr,
    rows,
    cols,
    perTask,
  ]);
  return y;
}
