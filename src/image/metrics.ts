/**
 * How far two pictures differ. Alpha is not looked at.
 *
 * @module
 */
import type { RgbaImage } from "./png.ts";

/** Peak signal-to-noise ratio over red, green and blue, in dB; Infinity for equal pictures. */
export function psnr(a: RgbaImage, b: RgbaImage): number {
  checkSameSize(a, b);
  let sum = 0;
  for (let i = 0; i < a.data.length; i += 4) {
    for (let c = 0; c < 3; c++) sum += (a.data[i + c] - b.data[i + c]) ** 2;
  }
  return 10 * Math.log10(255 ** 2 / (sum / (a.width * a.height * 3)));
}

/** Radius and σ of the window of Wang et al. 2004; pixels. */
const RADIUS = 5;
const SIGMA = 1.5;

/**
 * Mean structural similarity (Wang et al. 2004), -1 to 1: the mean over red, green and blue and over every
 * position where the 11×11 Gaussian window fits. The numbers are those of scikit-image's `structural_similarity`
 * with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`.
 *
 * Own code: ssim.js has had no release since 2020, and its default is another, approximate measure.
 *
 * @throws {RangeError} if the sizes differ or are below 11.
 */
export function ssim(a: RgbaImage, b: RgbaImage): number {
  checkSameSize(a, b);
  const { width, height } = a;
  if (Math.min(width, height) <= 2 * RADIUS) {
    throw new RangeError(`Cannot compare pictures: expected at least 11x11 pixels, found ${width}x${height}`);
  }
  const c1 = (0.01 * 255) ** 2, c2 = (0.03 * 255) ** 2;
  let total = 0;
  for (let c = 0; c < 3; c++) {
    const x = channel(a, c), y = channel(b, c);
    const product = (p: Float64Array, q: Float64Array) => p.map((value, i) => value * q[i]);
    const mean = (values: Float64Array) => blur(values, width, height);
    const mx = mean(x), my = mean(y);
    const mxx = mean(product(x, x)), myy = mean(product(y, y)), mxy = mean(product(x, y));
    for (let i = 0; i < mx.length; i++) {
      const vx = mxx[i] - mx[i] ** 2, vy = myy[i] - my[i] ** 2, vxy = mxy[i] - mx[i] * my[i];
      total += (2 * mx[i] * my[i] + c1) * (2 * vxy + c2) /
        ((mx[i] ** 2 + my[i] ** 2 + c1) * (vx + vy + c2));
    }
  }
  return total / (3 * (width - 2 * RADIUS) * (height - 2 * RADIUS));
}

function checkSameSize(a: RgbaImage, b: RgbaImage): void {
  const isWhole = (image: RgbaImage) => image.data.length === image.width * image.height * 4;
  if (a.width !== b.width || a.height !== b.height || !isWhole(a) || !isWhole(b)) {
    throw new RangeError(
      `Cannot compare pictures: expected two of one size, found ${a.width}x${a.height} and ${b.width}x${b.height}`,
    );
  }
}

function channel({ data }: RgbaImage, c: number): Float64Array {
  return Float64Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + c]);
}

const WINDOW = (() => {
  const weights = Array.from(
    { length: 2 * RADIUS + 1 },
    (_, i) => Math.exp(-((i - RADIUS) ** 2) / (2 * SIGMA ** 2)),
  );
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
})();

/** `[height, width]` → `[height − 10, width − 10]`, rows first, then columns. */
function blur(values: Float64Array, width: number, height: number): Float64Array {
  const innerWidth = width - 2 * RADIUS, innerHeight = height - 2 * RADIUS;
  const rows = new Float64Array(height * innerWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < innerWidth; x++) {
      let sum = 0;
      for (let k = 0; k < WINDOW.length; k++) sum += WINDOW[k] * values[y * width + x + k];
      rows[y * innerWidth + x] = sum;
    }
  }
  const out = new Float64Array(innerHeight * innerWidth);
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0; k < WINDOW.length; k++) sum += WINDOW[k] * rows[i + k * innerWidth];
    out[i] = sum;
  }
  return out;
}
