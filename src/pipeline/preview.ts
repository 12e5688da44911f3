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
  const W = width * factor, H = height * factor;
  const data = new Uint8ClampedArray(W * H * 4).fill(255);
  const at = (i: number, size: number) => {
    const x = Math.min(size - 1, Math.max(0, (i + 0.5) / factor - 0.5));
    const low = Math.floor(x);
    return { low, high: Math.min(size - 1, low + 1), f: x - low };
  };
  for (let y = 0; y < H; y++) {
    const v = at(y, height);
    for (let x = 0; x < W; x++) {
      const u = at(x, width);
      for (let k = 0; k < 3; k++) {
        const pixel = (row: number, column: number) => small[(row * width + column) * 3 + k];
        const top = pixel(v.low, u.low) * (1 - u.f) + pixel(v.low, u.high) * u.f;
        const bottom = pixel(v.high, u.low) * (1 - u.f) + pixel(v.high, u.high) * u.f;
        data[(y * W + x) * 4 + k] = top * (1 - v.f) + bottom * v.f;
      }
    }
  }
  return { width: W, height: H, data };
}
