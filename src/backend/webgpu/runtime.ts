import type { Tensor } from "../backend.ts";

/** A whole buffer of the pool that is no tensor: scratch, plans, indices. */
export interface GpuBytes {
  readonly buffer: GPUBuffer;
  /** Bytes asked for; the buffer may be larger. */
  readonly size: number;
}

/** A tensor of F (f16 or f32, see `GpuRuntime.f16`) in a buffer of its own; views share the buffer. */
export interface GpuTensor extends Tensor {
  readonly buffer: GPUBuffer;
  /** Elements from the start of the buffer. */
  readonly offset: number;
}

/** What the threads of a workgroup do together: add pairs, number things, find the maximum of a row; see shared_text.ts. */
export type SharedText = "sum" | "scan" | "row_max";

/** A compute shader, imported as text from kernels/. Two kernels of one name must differ in constants. */
export interface Kernel {
  readonly name: string;
  readonly source: string;
  /** Values of `override` constants. */
  readonly constants?: Record<string, number>;
  /** `main` by default. */
  readonly entry?: string;
  /** The loader appends the texts that suit the device. */
  readonly shared?: readonly SharedText[];
}

/** What a kernel may bind, at `@binding(1)`, 2, …; a bare buffer is bound as a whole (weights). */
export type Bound = GpuTensor | GpuBytes | GPUBuffer;

/**
 * What the op wrappers of this folder run on. The loader puts `enable f16;` (where F is f16), `alias F` and
 * `alias F4 = vec4<F>` before the source.
 */
export interface GpuRuntime {
  /** F is f16. */
  readonly f16: boolean;
  readonly limits: GPUSupportedLimits;
  /** A tensor of F in the current scope, from the pool; uninitialised. */
  alloc(shape: readonly number[]): GpuTensor;
  /** Scratch in the current scope; uninitialised. */
  allocBytes(bytes: number): GpuBytes;
  /** Gives memory of the current scope back early; it may be reused by the next `alloc`. */
  release(x: GpuTensor | GpuBytes): void;
  /** Memory outside any scope and outside the pool, never reused: weights. Rounded up to 16 bytes. */
  reserve(data: ArrayBufferView, label: string): GPUBuffer;
  /**
   * Records one dispatch. `params` are words (floats through `f32Bits`), padded to 16 bytes, at
   * `@binding(0)`; they are part of the key of the cached bind group: what changes from step to step belongs in
   * a buffer. `work` is about how many multiply-adds it takes, or values it moves (the bytes bound when absent):
   * a submission ends after enough of it.
   */
  run(
    kernel: Kernel,
    params: readonly number[],
    buffers: readonly Bound[],
    groups: readonly [x: number, y?: number, z?: number],
    work?: number,
  ): void;
  /** Copies bytes from the host, in order with the dispatches around it. */
  write(target: GpuBytes | GpuTensor, data: ArrayBufferView): void;
  /** Copies bytes to the host after everything recorded so far; waits for the device. */
  readBytes(source: GpuBytes | GpuTensor, from?: number, bytes?: number): Promise<ArrayBuffer>;
}

/** The matrix that a tensor is: its last dimension, and everything before. */
export function matrix(x: Tensor): { rows: number; cols: number } {
  const cols = x.shape[x.shape.length - 1];
  let rows = 1;
  for (let i = 0; i < x.shape.length - 1; i++) rows *= x.shape[i];
  return { rows, cols };
}

const bits = new DataView(new ArrayBuffer(4));

/** The word of a float. */
export function f32Bits(x: number): number {
  bits.setFloat32(0, x);
  return bits.getUint32(0);
}

/**
 * Workgroups of a line of `count`, folded over x and y: the kernel's index is
 * `workgroup_id.y * num_workgroups.x + workgroup_id.x`, and must be compared with the count.
 */
export function foldGroups(count: number): readonly [x: number, y: number] {
  const max = 65535;
  if (count <= max) return [Math.max(1, count), 1];
  const y = Math.ceil(count / max);
  return [Math.ceil(count / y), y];
}
