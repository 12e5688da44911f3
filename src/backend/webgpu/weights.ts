import { DeviceError } from "../../errors.ts";
import type { HostTensor, Weight } from "../backend.ts";
import { narrow, widen } from "../half.ts";
import { checkHostData, convWeightRule, linearWeightRule } from "../shape_rules.ts";
import type { GpuRuntime } from "./runtime.ts";

/** Columns `from` to `from + cols` of a weight, [K, stride · 4] row-major in a buffer of their own. */
export interface WeightPart {
  readonly buffer: GPUBuffer;
  readonly from: number;
  readonly cols: number;
  /** Vectors of 4 between two rows. */
  readonly stride: number;
}

/** A weight as the kernels of kernels/matmul.wgsl want it. */
export interface GpuWeight extends Weight {
  /** K: k·k·cin, in the order ky, kx, ci. */
  readonly depth: number;
  /** f32, padded to vectors; zeros if there is none. */
  readonly bias: GPUBuffer;
  /** One, unless the device's limits are too small for it. */
  readonly parts: readonly WeightPart[];
}

/** What of the runtime weights need. */
type WeightMemory = Pick<GpuRuntime, "f16" | "limits" | "reserve">;

type Values = Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** What the kernels may read beyond the last row without testing: a block of K, and a tile of columns. */
const SPARE_ROWS = 16, SPARE_VALUES = 128;

/** `[out, in]` matrices with the same `in`, stacked along `out`. */
export function linearWeight(
  rt: WeightMemory,
  weights: readonly HostTensor[],
  biases?: readonly HostTensor[],
): GpuWeight {
  return pack(rt, linearWeightRule(weights, biases), weights, biases ?? []);
}

/** `[out, in, k, k]`. */
export function convWeight(rt: WeightMemory, weight: HostTensor, bias?: HostTensor): GpuWeight {
  return pack(rt, convWeightRule(weight, bias), [weight], bias ? [bias] : []);
}

function pack(
  rt: WeightMemory,
  weight: Weight,
  tensors: readonly HostTensor[],
  biases: readonly HostTensor[],
): GpuWeight {
  for (const tensor of [...tensors, ...biases]) checkHostData(tensor);
  const { name, cout } = weight;
  const depth = weight.kernel * weight.kernel * weight.cin;
  const step = partColumns(rt, weight, depth);
  const rows = [...sourceRows(tensors)];
  const parts: WeightPart[] = [];
  for (let from = 0; from < cout; from += step) {
    const cols = Math.min(step, cout - from);
    const stride = Math.ceil(cols / 4);
    const size = (depth + SPARE_ROWS) * stride * 4 + SPARE_VALUES;
    const values = rt.f16 ? new Uint16Array(size) : new Float32Array(size);
    for (const { tensor, first, count } of rows) {
      const begin = Math.max(from, first), end = Math.min(from + cols, first + count);
      if (begin >= end) continue;
      const source = elements(rt, tensor, (begin - first) * depth, (end - first) * depth);
      transpose(source, values, { ...weight, at: begin - from, rows: end - begin, pitch: stride * 4 });
    }
    parts.push({ buffer: rt.reserve(values, name), from, cols, stride });
  }
  const bias = new Float32Array(Math.ceil(cout / 4) * 4);
  let at = 0;
  for (const tensor of biases) {
    bias.set(widen(tensor, 0, tensor.shape[0]), at);
    at += tensor.shape[0];
  }
  return { ...weight, depth, bias: rt.reserve(bias, `${name}, bias`), parts };
}

/** Columns of a part: all, or as many tiles of 64 (else vectors of 4) as a buffer may hold. */
function partColumns(rt: WeightMemory, { name, cout }: Weight, depth: number): number {
  const { maxStorageBufferBindingSize, maxBufferSize } = rt.limits;
  const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  const values = Math.floor(limit / (rt.f16 ? 2 : 4)) - SPARE_VALUES;
  const most = Math.floor(values / (depth + SPARE_ROWS) / 4) * 4;
  if (most >= Math.ceil(cout / 4) * 4) return cout;
  if (most >= 64) return Math.floor(most / 64) * 64;
  if (most >= 4) return most;
  const limitName = maxBufferSize < maxStorageBufferBindingSize
    ? "maxBufferSize"
    : "maxStorageBufferBindingSize";
  throw new DeviceError(
    `Cannot load "${name}" on this GPU: expected 4 columns of ${depth} values to fit into ${limitName}, ` +
      `found ${limit} bytes`,
  );
}

function* sourceRows(tensors: readonly HostTensor[]) {
  let first = 0;
  for (const tensor of tensors) {
    yield { tensor, first, count: tensor.shape[0] };
    first += tensor.shape[0];
  }
}

/** Elements of a checkpoint tensor as F; halves pass unchanged where F is f16. */
function elements(rt: WeightMemory, tensor: HostTensor, from: number, to: number): Values {
  if (!rt.f16) return widen(tensor, from, to) as Float32Array<ArrayBuffer>;
  if (tensor.dtype === "F16") return new Uint16Array(tensor.data.slice(from * 2, to * 2).buffer);
  const wide = widen(tensor, from, to);
  const halves = narrow(wide);
  for (let i = 0; i < halves.length; i++) {
    if ((halves[i] & 0x7fff) === 0x7c00 && Number.isFinite(wide[i])) {
      throw new RangeError(
        `Cannot load "${tensor.name}" in half precision: expected values up to 65504, found ${wide[i]}`,
      );
    }
  }
  return halves;
}

/** Square blocks of both matrices stay in the first-level cache. */
const BLOCK = 32;

/** Rows [out, in, k, k] become columns `at`.. of [k, k, in, pitch]; most of the time that loading takes. */
function transpose(
  from: Values,
  to: Values,
  { cin, kernel, at, rows, pitch }: { cin: number; kernel: number; at: number; rows: number; pitch: number },
): void {
  const taps = kernel * kernel, depth = cin * taps;
  for (let r0 = 0; r0 < rows; r0 += BLOCK) {
    const r1 = Math.min(rows, r0 + BLOCK);
    for (let c0 = 0; c0 < cin; c0 += BLOCK) {
      const c1 = Math.min(cin, c0 + BLOCK);
      for (let tap = 0; tap < taps; tap++) {
        for (let c = c0; c < c1; c++) {
          const line = (tap * cin + c) * pitch + at;
          for (let r = r0, i = r0 * depth + c * taps + tap; r < r1; r++, i += depth) to[line + r] = from[i];
        }
      }
    }
  }
}
