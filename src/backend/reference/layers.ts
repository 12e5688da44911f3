/**
 * The layers, slow and obvious: every sum in f64, every stored value rounded to f32 once.
 *
 * @module
 */
import type { Activation, Epilogue } from "../backend.ts";
import { activationFunction, gelu } from "./functions.ts";
import type { RefNormWeight, RefTensor, RefWeight } from "./tensor.ts";

/** sums[o] += Σ x[i] · w[i, o], where w starts at element `from`; four inputs at once, which halves the time. */
function addProduct(sums: Float64Array, x: Float32Array, w: Float32Array, from: number): void {
  const cout = sums.length;
  let i = 0, at = from;
  for (; i + 4 <= x.length; i += 4, at += 4 * cout) {
    const a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
    for (let o = 0, p = at; o < cout; o++, p++) {
      sums[o] += a * w[p] + b * w[p + cout] + c * w[p + 2 * cout] + d * w[p + 3 * cout];
    }
  }
  for (; i < x.length; i++, at += cout) {
    for (let o = 0; o < cout; o++) sums[o] += x[i] * w[at + o];
  }
}

/** Row `r` of `out` becomes act(sums + bias + rowBias) + residual. */
function finishRow(out: RefTensor, r: number, sums: Float64Array, w: RefWeight, e: Epilogue): void {
  const image = Math.floor(r / (out.rows / out.shape[0]));
  const rowBias = (e.rowBias as RefTensor | undefined)?.row(image);
  const residual = (e.residual as RefTensor | undefined)?.row(r);
  const act = activationFunction(e.activation);
  const row = out.row(r);
  for (let o = 0; o < row.length; o++) {
    row[o] = act(sums[o] + w.bias[o] + (rowBias?.[o] ?? 0)) + (residual?.[o] ?? 0);
  }
}

export function linear(out: RefTensor, x: RefTensor, w: RefWeight, e: Epilogue): void {
  const sums = new Float64Array(w.cout);
  for (let r = 0; r < out.rows; r++) {
    sums.fill(0);
    addProduct(sums, x.row(r), w.values, 0);
    finishRow(out, r, sums, w, e);
  }
}

export function conv2d(
  out: RefTensor,
  x: RefTensor,
  w: RefWeight,
  e: Epilogue & { stride: number; top: number; left: number },
): void {
  const [, height, width, cin] = x.shape;
  const [batch, outHeight, outWidth, cout] = out.shape;
  const sums = new Float64Array(cout);
  for (let r = 0; r < batch * outHeight * outWidth; r++) {
    const b = Math.floor(r / (outHeight * outWidth));
    const y0 = Math.floor(r / outWidth) % outHeight * e.stride - e.top;
    const x0 = r % outWidth * e.stride - e.left;
    sums.fill(0);
    for (let ky = 0; ky < w.kernel; ky++) {
      for (let kx = 0; kx < w.kernel; kx++) {
        const iy = y0 + ky, ix = x0 + kx;
        if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
        addProduct(sums, x.row((b * height + iy) * width + ix), w.values, (ky * w.kernel + kx) * cin * cout);
      }
    }
    finishRow(out, r, sums, w, e);
  }
}

/** `[B, 2C]`: scale = γ/σ, then shift = β − μ·γ/σ, of each image and channel. */
export function groupNormAffine(
  out: RefTensor,
  x: RefTensor,
  w: RefNormWeight,
  { groups, eps }: { groups: number; eps: number },
): void {
  const batch = x.shape[0], rows = x.rows / batch, width = w.channels / groups;
  for (let b = 0; b < batch; b++) {
    const scaleShift = out.row(b);
    for (let g = 0; g < groups; g++) {
      const sumOver = (f: (v: number) => number) => {
        let sum = 0;
        for (let r = b * rows; r < (b + 1) * rows; r++) {
          const row = x.row(r);
          for (let c = g * width; c < (g + 1) * width; c++) sum += f(row[c]);
        }
        return sum;
      };
      const mean = sumOver((v) => v) / (rows * width);
      const variance = sumOver((v) => (v - mean) ** 2) / (rows * width);
      for (let c = g * width; c < (g + 1) * width; c++) {
        scaleShift[c] = w.scale[c] / Math.sqrt(variance + eps);
        scaleShift[w.channels + c] = w.shift[c] - mean * w.scale[c] / Math.sqrt(variance + eps);
      }
    }
  }
}

export function affine(out: RefTensor, x: RefTensor, scaleShift: RefTensor, silu: boolean): void {
  const rows = x.rows / x.shape[0], channels = x.cols;
  const act = activationFunction(silu ? "silu" : undefined);
  for (let r = 0; r < x.rows; r++) {
    const from = x.row(r), to = out.row(r), factors = scaleShift.row(Math.floor(r / rows));
    for (let c = 0; c < channels; c++) to[c] = act(from[c] * factors[c] + factors[channels + c]);
  }
}

export function layerNorm(out: RefTensor, x: RefTensor, w: RefNormWeight, eps: number): void {
  for (let r = 0; r < x.rows; r++) {
    const from = x.row(r), to = out.row(r);
    let mean = 0, variance = 0;
    for (const v of from) mean += v / from.length;
    for (const v of from) variance += (v - mean) ** 2 / from.length;
    for (let c = 0; c < to.length; c++) {
      to[c] = (from[c] - mean) / Math.sqrt(variance + eps) * w.scale[c] + w.shift[c];
    }
  }
}

export function attention(
  out: RefTensor,
  q: RefTensor,
  k: RefTensor,
  v: RefTensor,
  { heads, causal, scale }: { heads: number; causal: boolean; scale: number },
): void {
  const [batch, tokens, channels] = q.shape, keys = k.shape[1], width = channels / heads;
  const scores = new Float64Array(keys), sums = new Float64Array(width);
  for (let b = 0; b < batch; b++) {
    const keyRows = Array.from({ length: keys }, (_, j) => k.row(b * keys + j));
    const valueRows = Array.from({ length: keys }, (_, j) => v.row(b * keys + j));
    for (let i = 0; i < tokens; i++) {
      const query = q.row(b * tokens + i), result = out.row(b * tokens + i);
      const seen = causal ? i + 1 : keys;
      for (let from = 0; from < channels; from += width) {
        let max = -Infinity;
        for (let j = 0; j < seen; j++) {
          const key = keyRows[j];
          let dot = 0;
          for (let d = from; d < from + width; d++) dot += query[d] * key[d];
          scores[j] = dot * scale;
          max = Math.max(max, scores[j]);
        }
        let total = 0;
        sums.fill(0);
        for (let j = 0; j < seen; j++) {
          const weight = Math.exp(scores[j] - max), value = valueRows[j];
          total += weight;
          for (let d = 0; d < width; d++) sums[d] += weight * value[from + d];
        }
        for (let d = 0; d < width; d++) result[from + d] = sums[d] / total;
      }
    }
  }
}

export function geglu(out: RefTensor, x: RefTensor): void {
  for (let r = 0; r < x.rows; r++) {
    const from = x.row(r), to = out.row(r);
    for (let c = 0; c < to.length; c++) to[c] = from[c] * gelu(from[to.length + c]);
  }
}

export function activation(out: RefTensor, x: RefTensor, kind: Activation): void {
  const act = activationFunction(kind);
  for (let r = 0; r < x.rows; r++) out.row(r).set(x.row(r).map(act));
}

/** Pixel (y, x) of the source becomes (2y, 2x), (2y, 2x + 1), (2y + 1, 2x) and (2y + 1, 2x + 1). */
export function upsample(out: RefTensor, x: RefTensor): void {
  const [, height, width] = x.shape, [batch, outHeight, outWidth] = out.shape;
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++) {
        out.row((b * outHeight + oy) * outWidth + ox).set(
          x.row((b * height + (oy >> 1)) * width + (ox >> 1)),
        );
      }
    }
  }
}

/** Copies x to row `row`, column `col` of `out`. */
export function place(out: RefTensor, x: RefTensor, row: number, col: number): void {
  for (let r = 0; r < x.rows; r++) out.row(row + r).set(x.row(r), col);
}

export function lincomb(out: RefTensor, terms: readonly (readonly [number, RefTensor])[]): void {
  for (let r = 0; r < out.rows; r++) {
    const to = out.row(r), rows = terms.map(([, x]) => x.row(r));
    for (let c = 0; c < to.length; c++) {
      to[c] = terms.reduce((sum, [factor], i) => sum + factor * rows[i][c], 0);
    }
  }
}

export function blend(out: RefTensor, mask: RefTensor, a: RefTensor, b: RefTensor): void {
  for (let r = 0; r < out.rows; r++) {
    const [m] = mask.row(r), to = out.row(r), rowA = a.row(r), rowB = b.row(r);
    for (let c = 0; c < to.length; c++) to[c] = m * rowA[c] + (1 - m) * rowB[c];
  }
}
