import type { HostTensor, NormWeight, Weight } from "../backend.ts";
import { widen } from "../half.ts";
import { checkHostData, convWeightRule, linearWeightRule, normWeightRule } from "../shape_rules.ts";
import type { WasmHost } from "./host.ts";
import type { NormParameters } from "./norm.ts";
import type { WasmTensor } from "./runtime.ts";

/** A weight as panels of 8 output columns, [⌈cout/8⌉][K][8], padded with zeros. */
export interface WasmWeight extends Weight {
  /** K: k·k·cin, in the order ky, kx, ci. */
  readonly depth: number;
  /** Address of the bias, padded to whole panels; zeros if there is none. */
  readonly bias: number;
  /** Address of the f32 panels, or the panels themselves, to be brought in at each use. */
  readonly panels: number | Uint16Array | Float32Array;
}

/** Scale (gamma) and shift (beta), `[C]` each. */
export type WasmNormWeight = NormWeight & NormParameters;

/** Packs weights; keeps the first `residentBytes` of them, as f32, in the kernels' memory. */
export class WeightStore {
  readonly #host: WasmHost;
  #budget: number;

  constructor(host: WasmHost, residentBytes: number) {
    this.#host = host;
    this.#budget = residentBytes;
  }

  linear(weights: readonly HostTensor[], biases?: readonly HostTensor[]): WasmWeight {
    return this.#pack(linearWeightRule(weights, biases), weights, biases ?? []);
  }

  conv(weight: HostTensor, bias?: HostTensor): WasmWeight {
    return this.#pack(convWeightRule(weight, bias), [weight], bias ? [bias] : []);
  }

  norm(weight: HostTensor, bias: HostTensor): WasmNormWeight {
    const rule = normWeightRule(weight, bias);
    const vector = (part: HostTensor): WasmTensor => ({
      ptr: this.#vector([part], rule.channels),
      shape: [rule.channels],
      stride: rule.channels,
    });
    return { ...rule, gamma: vector(weight), beta: vector(bias) };
  }

  #pack(weight: Weight, parts: readonly HostTensor[], biases: readonly HostTensor[]): WasmWeight {
    for (const part of parts) checkHostData(part);
    const taps = weight.kernel * weight.kernel;
    const depth = taps * weight.cin;
    const values = Math.ceil(weight.cout / 8) * 8 * depth;
    const panels = parts.every((part) => part.dtype === "F16")
      ? new Uint16Array(values)
      : new Float32Array(values);
    let row = 0;
    for (const part of parts) {
      const source = panels instanceof Uint16Array
        ? halves(part.data)
        : widen(part, 0, part.shape[0] * depth);
      packRows(source, panels, { row, rows: part.shape[0], cin: weight.cin, taps });
      row += part.shape[0];
    }
    const bias = this.#vector(biases, Math.ceil(weight.cout / 8) * 8);
    return { ...weight, depth, bias, panels: this.#settle(panels) };
  }

  /** Moves panels into the kernels' memory if the budget allows it. */
  #settle(panels: Uint16Array | Float32Array): WasmWeight["panels"] {
    const bytes = panels.length * 4;
    if (bytes > this.#budget) return panels;
    this.#budget -= bytes;
    const at = this.#host.reserve(bytes);
    if (panels instanceof Uint16Array) this.#host.widen(panels, at);
    else this.#host.f32.set(panels, at / 4);
    return at;
  }

  #vector(parts: readonly HostTensor[], length: number): number {
    const at = this.#host.reserve(length * 4) / 4;
    const values = this.#host.f32.fill(0, at, at + length);
    let to = at;
    for (const part of parts) {
      checkHostData(part);
      values.set(widen(part, 0, part.shape[0]), to);
      to += part.shape[0];
    }
    return at * 4;
  }
}

/** A checkpoint's offsets need not be even. */
function halves(data: Uint8Array): Uint16Array {
  const bytes = data.byteOffset % 2 === 0 ? data : data.slice();
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

/** Rows of a checkpoint's [out, in, k, k] into panels; most of the time that loading takes. */
function packRows(
  from: Uint16Array | Float32Array,
  to: Uint16Array | Float32Array,
  { row, rows, cin, taps }: { row: number; rows: number; cin: number; taps: number },
): void {
  const depth = cin * taps;
  for (let r = 0; r < rows; r++) {
    const base = ((row + r) >> 3) * depth * 8 + ((row + r) & 7);
    for (let tap = 0; tap < taps; tap++) {
      let at = base + tap * cin * 8;
      for (let i = r * depth + tap, end = (r + 1) * depth; i < end; i += taps, at += 8) to[at] = from[i];
    }
  }
}

/**
 * Calls `body` with the address of f32 panels from..to−1 of a weight, for all of them: at once if they are
 * resident, else window by window. A weight's windows depend on its shape only.
 */
export function eachWindow(
  host: WasmHost,
  w: WasmWeight,
  body: (at: number, from: number, to: number) => void,
): void {
  const total = Math.ceil(w.cout / 8);
  const { panels, depth } = w;
  if (typeof panels === "number") return body(panels, 0, total);
  const { wide, values } = host.window(depth * 8);
  const step = Math.floor(values / (depth * 8));
  for (let from = 0; from < total; from += step) {
    const to = Math.min(total, from + step);
    const part = panels.subarray(from * depth * 8, to * depth * 8);
    if (part instanceof Uint16Array) host.widen(part, wide);
    else host.f32.set(part, wide / 4);
    body(wide, from, to);
  }
}
