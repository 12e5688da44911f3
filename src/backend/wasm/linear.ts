import { Op } from "../../../asm/op.ts";
import type { Activation, Epilogue } from "../backend.ts";
import { linearRule } from "../shape_rules.ts";
import type { WasmHost } from "./host.ts";
import { matrix, type WasmTensor } from "./runtime.ts";
import { eachWindow, type WasmWeight } from "./weights.ts";

/** Rows of a block; see asm/gemm.ts. */
const BLOCK_ROWS = 65;
/** Enough tasks for many threads to end at about the same time. */
const TASKS = 24;
/** Least columns of a chunk: packing a block's rows costs as much as a product with 6 to 10 columns. */
const CHUNK_COLUMNS = 160;
const DEPTH_BLOCK = 640;

const activations: Record<Activation, number> = { silu: 1, gelu: 2, quick_gelu: 3 };

/**
 * Runs the kernel of a linear layer or convolution over all of a weight. How the work is cut depends on shapes
 * only: the same bits for any number of threads.
 */
export function product(
  rt: WasmHost,
  op: Op.Gemm | Op.Conv,
  { x, w, out, options, geometry }: {
    x: WasmTensor;
    w: WasmWeight;
    out: WasmTensor;
    options: Epilogue;
    geometry: readonly number[];
  },
): void {
  const { rows, cols } = matrix(out);
  const { depth } = w;
  const residual = options.residual as WasmTensor | undefined;
  const rowBias = options.rowBias as WasmTensor | undefined;
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const depthBlocks = Math.ceil(depth / DEPTH_BLOCK);
  const depthBlock = Math.ceil(depth / depthBlocks / 4) * 4;
  eachWindow(rt, w, (panels, from, to) => {
    const width = Math.min(cols, to * 8) - from * 8;
    const chunks = Math.max(1, Math.min(Math.ceil(TASKS / blocks), Math.floor(width / CHUNK_COLUMNS)));
    const skip = from * 32;
    rt.run(op, blocks * chunks, [
      x.ptr,
      x.stride,
      panels,
      w.bias + skip,
      out.ptr + skip,
      out.stride,
      rows,
      depth,
      width,
      options.activation ? activations[options.activation] : 0,
      residual ? residual.ptr + skip : 0,
      residual?.stride ?? 0,
      rowBias ? rowBias.ptr + skip : 0,
      rowBias?.stride ?? 0,
      rows / out.shape[0],
      blocks,
      chunks,
      depthBlock,
      ...geometry,
    ]);
  });
}

/** `[..., Cin]` → `[..., Cout]`: act(x·W + bias + rowBias) + residual. */
export function linear(rt: WasmHost, x: WasmTensor, w: WasmWeight, options: Epilogue = {}): WasmTensor {
  const out = rt.alloc(linearRule(x, w, options));
  product(rt, Op.Gemm, { x, w, out, options, geometry: [] });
  return out;
}
