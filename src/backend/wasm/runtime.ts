import type { Op } from "../../../asm/op.ts";
import type { Tensor } from "../backend.ts";

/** A tensor in WebAssembly memory. `ptr` is a byte address, 16-byte aligned unless the tensor is a view. */
export interface WasmTensor extends Tensor {
  readonly ptr: number;
}

/** What an operation's wrapper needs of the memory and the thread pool. */
export interface Runtime {
  readonly threads: number;
  /** An uninitialised f32 tensor that belongs to the current scope. */
  alloc(shape: readonly number[]): WasmTensor;
  /** Uninitialised bytes, 16-byte aligned, that belong to the current scope. */
  allocBytes(bytes: number): number;
  /** Frees early what `alloc` or `allocBytes` of this scope gave. */
  release(x: WasmTensor | number): void;
  /** Views of the memory as it is now; fetch anew after any allocation. */
  readonly f32: Float32Array;
  readonly i32: Int32Array;
  /**
   * Runs tasks 0..tasks−1 of a kernel on all threads and returns when all are done. `words` are the kernel's
   * parameters, i32 each, in the order that its header comment lists; floats go through `f32Bits`.
   */
  run(op: Op, tasks: number, words: readonly number[]): void;
}

const scratch = new DataView(new ArrayBuffer(4));

/** The bits of a float as the i32 word that a kernel reads with `load<f32>`. */
export function f32Bits(x: number): number {
  scratch.setFloat32(0, x, true);
  return scratch.getInt32(0, true);
}

/** Rows and channels of a tensor seen as a matrix. */
export function matrix(x: Tensor): { rows: number; cols: number } {
  const cols = x.shape[x.shape.length - 1];
  return { rows: x.shape.reduce((a, n) => a * n, 1) / cols, cols };
}
