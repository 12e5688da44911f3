/**
 * Scaling, cutting and pasting of RGBA pictures, as Pillow does them: separable filters, widened when shrinking,
 * alpha multiplied in while colours are mixed, rounded to bytes after each direction.
 *
 * Own code, since well-kept libraries for this are native (sharp) or bring several MB of WebAssembly.
 *
 * @module
 */
import type { RgbaImage } from "./png.ts";

export type ResizeFilter = "lanczos" | "nearest";

export interface Pixels extends RgbaImage {
  data: Uint8ClampedArray<ArrayBuffer>;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A picture of another size; the pixels themselves where that is the size it has. */
export function resizePicture(
  picture: RgbaImage,
  { width, height, filter = "lanczos" }: { width: number; height: number; filter?: ResizeFilter },
): Pixels {
  if (picture.width === width && picture.height === height) return copy(picture);
  if (filter === "nearest") return nearest(picture, width, height);
  const rows = multiplyAlpha(picture); // [h, w, 4]
  const wide = mix(rows, { lines: picture.height, from: picture.width, to: width });
  const turned = mix(transpose(wide, picture.height, width), {
    lines: width,
    from: picture.height,
    to: height,
  });
  return divideAlpha(transpose(turned, width, height), width, height);
}

/** Blurs with a Gaussian of `radius` pixels (its standard deviation, as in Pillow); edges repeat. */
export function blurPicture(picture: RgbaImage, radius: number): Pixels {
  if (!(radius > 0)) return copy(picture);
  const { width, height } = picture;
  const reach = Math.ceil(3 * radius);
  const weights = Array.from(
    { length: 2 * reach + 1 },
    (_, i) => Math.exp(-((i - reach) ** 2) / (2 * radius ** 2)),
  );
  const sum = weights.reduce((a, w) => a + w, 0);
  const kernel = weights.map((w) => w / sum);
  const across = convolve(multiplyAlpha(picture), { lines: height, length: width, kernel });
  const down = convolve(transpose(across, height, width), { lines: width, length: height, kernel });
  return divideAlpha(transpose(down, width, height), width, height);
}

/** The part of a picture within a box, which must lie inside. */
export function crop(picture: RgbaImage, { x, y, width, height }: Box): Pixels {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row++) {
    const at = ((y + row) * picture.width + x) * 4;
    data.set(picture.data.subarray(at, at + width * 4), row * width * 4);
  }
  return { width, height, data };
}

/** `top` over `base` at (x, y), as much as `mask` (of the size of `top`, by its red channel) lets through. */
export function paste(
  base: RgbaImage,
  top: RgbaImage,
  { x = 0, y = 0, mask }: { x?: number; y?: number; mask?: RgbaImage } = {},
): Pixels {
  const out = copy(base);
  for (let row = 0; row < top.height; row++) {
    for (let column = 0; column < top.width; column++) {
      const from = (row * top.width + column) * 4, to = ((y + row) * base.width + x + column) * 4;
      const share = mask ? mask.data[from] / 255 : 1;
      for (let k = 0; k < 4; k++) out.data[to + k] += share * (top.data[from + k] - base.data[to + k]);
    }
  }
  return out;
}

function copy({ width, height, data }: RgbaImage): Pixels {
  return { width, height, data: new Uint8ClampedArray(data) };
}

function nearest(picture: RgbaImage, width: number, height: number): Pixels {
  const data = new Uint8ClampedArray(width * height * 4);
  const from = new Uint32Array(new Uint8ClampedArray(picture.data).buffer), to = new Uint32Array(data.buffer);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y + 0.5) * picture.height / height) * picture.width;
    for (let x = 0; x < width; x++) {
      to[y * width + x] = from[row + Math.floor((x + 0.5) * picture.width / width)];
    }
  }
  return { width, height, data };
}

/** Lanczos with three lobes. */
function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= 3) return 0;
  const t = Math.PI * x;
  return 3 * Math.sin(t) * Math.sin(t / 3) / (t * t);
}

/** `[lines, from, 4]` → `[lines, to, 4]` */
function mix(
  x: Uint8ClampedArray,
  { lines, from, to }: { lines: number; from: number; to: number },
): Uint8ClampedArray {
  const scale = from / to, stretch = Math.max(1, scale), reach = 3 * stretch;
  const out = new Uint8ClampedArray(lines * to * 4);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let j = first; j < last; j++) sum += weights[j - first] = lanczos((j - centre + 0.5) / stretch);
    for (let line = 0; line < lines; line++) {
      for (let k = 0; k < 4; k++) {
        let value = 0;
        for (let j = first; j < last; j++) value += weights[j - first] * x[(line * from + j) * 4 + k];
        out[(line * to + i) * 4 + k] = value / sum;
      }
    }
  }
  return out;
}

function convolve(
  x: Uint8ClampedArray,
  { lines, length, kernel }: { lines: number; length: number; kernel: readonly number[] },
): Uint8ClampedArray {
  const out = new Uint8ClampedArray(x.length), reach = kernel.length >> 1;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      for (let t = 0; t < kernel.length; t++) {
        const j = Math.min(length - 1, Math.max(0, i + t - reach));
        for (let k = 0; k < 4; k++) {
          out[(line * length + i) * 4 + k] += kernel[t] * x[(line * length + j) * 4 + k];
        }
      }
    }
  }
  return out;
}

function transpose(x: Uint8ClampedArray, lines: number, length: number): Uint8ClampedArray {
  const out = new Uint8ClampedArray(x.length);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      for (let k = 0; k < 4; k++) out[(i * lines + line) * 4 + k] = x[(line * length + i) * 4 + k];
    }
  }
  return out;
}

function multiplyAlpha({ width, height, data }: RgbaImage): Uint8ClampedArray {
  const out = new Uint8ClampedArray(width * height * 4);
  for (let p = 0; p < out.length; p += 4) {
    const alpha = data[p + 3];
    for (let k = 0; k < 3; k++) out[p + k] = data[p + k] * alpha / 255;
    out[p + 3] = alpha;
  }
  return out;
}

function divideAlpha(x: Uint8ClampedArray, width: number, height: number): Pixels {
  const data = new Uint8ClampedArray(x.length);
  for (let p = 0; p < x.length; p += 4) {
    const alpha = x[p + 3];
    for (let k = 0; k < 3; k++) data[p + k] = alpha > 0 ? x[p + k] * 255 / alpha : 0;
    data[p + 3] = alpha;
  }
  return { width, height, data };
}
