/**
 * A linear map from latents to colours, `[3, channels + 1]` (the last column is the constant): good enough to
 * watch a picture grow, and thousands of times cheaper than the decoder.
 */
export type LatentColours = Float64Array;

/** Least squares over pairs of a latent `[channels]` and the mean colour of the pixels that it decodes to. */
export function fitLatentColours(
  latents: Float32Array,
  colours: Float32Array,
  channels: number,
): LatentColours {
  const n = channels + 1;
  const count = latents.length / channels;
  const gram = new Float64Array(n * n), right = new Float64Array(n * 3);
  const row = new Float64Array(n).fill(1);
  for (let p = 0; p < count; p++) {
    for (let c = 0; c < channels; c++) row[c] = latents[p * channels + c];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) gram[i * n + j] += row[i] * row[j];
      for (let k = 0; k < 3; k++) right[i * 3 + k] += row[i] * colours[p * 3 + k];
    }
  }
  for (let i = 0; i < n; i++) gram[i * n + i] += 1e-6 * count; // so that a constant channel divides nothing by 0
  solve(gram, right, n);
  const map = new Float64Array(3 * n);
  for (let k = 0; k < 3; k++) for (let i = 0; i < n; i++) map[k * n + i] = right[i * 3 + k];
  return map;
}

/** Gauss–Jordan on a positive definite matrix: no pivoting needed. */
function solve(a: Float64Array, right: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const f = a[j * n + i] / a[i * n + i];
      for (let k = 0; k < n; k++) a[j * n + k] -= f * a[i * n + k];
      for (let k = 0; k < 3; k++) right[j * 3 + k] -= f * right[i * 3 + k];
    }
  }
  for (let i = 0; i < n; i++) for (let k = 0; k < 3; k++) right[i * 3 + k] /= a[i * n + i];
}

/** Latents `[h, w, channels]` → RGBA of `factor` times their size, colours between latents interpolated. */
export function previewPicture(
  latents: Float32Array,
  { width, height, factor, map }: { width: number; height: number; factor: number; map: LatentColours },
): { width: number; height: number; data: Uint8ClampedArray<ArrayBuffer> } {
  const n = map.length / 3;
  const small = new Float32Array(width * height * 3);
  for (let p = 0; p < width * height; p++) {
    for (let k = 0; k < 3; k++) {
      let colour = map[k * n + n - 1];
      for (let c = 0; c < n - 1; c++) colour += map[k * n + c] * latents[p * (n - 1) + c];
      small[p * 3 + k] = (colour / 2 + 0.5) * 255;
    }
  }
  const columns = neighbours(width, factor), rows = neighbours(height, factor);
  const W = width * factor, H = height * factor;
  const data = new Uint8ClampedArray(W * H * 4).fill(255);
  const row = new Float32Array(width * 3);
  for (let y = 0; y < H; y++) {
    const top = rows.low[y] * width * 3, bottom = rows.high[y] * width * 3, f = rows.share[y];
    for (let i = 0; i < row.length; i++) row[i] = small[top + i] * (1 - f) + small[bottom + i] * f;
    for (let x = 0; x < W; x++) {
      const left = columns.low[x] * 3, right = columns.high[x] * 3, g = columns.share[x];
      for (let k = 0; k < 3; k++) data[(y * W + x) * 4 + k] = row[left + k] * (1 - g) + row[right + k] * g;
    }
  }
  return { width: W, height: H, data };
}

/** For every pixel of a line: the latents before and after its centre, and how near it is to the latter. */
function neighbours(
  size: number,
  factor: number,
): { low: Int32Array; high: Int32Array; share: Float32Array } {
  const low = new Int32Array(size * factor),
    high = new Int32Array(low.length),
    share = new Float32Array(low.length);
  for (let i = 0; i < low.length; i++) {
    const x = Math.min(size - 1, Math.max(0, (i + 0.5) / factor - 0.5));
    low[i] = Math.floor(x);
    high[i] = Math.min(size - 1, low[i] + 1);
    share[i] = x - low[i];
  }
  return { low, high, share };
}
