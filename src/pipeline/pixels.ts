import type { Picture } from "./options.ts";

/** NCHW, the order of noise and checkpoints → channels-last. */
export function channelsLast(x: Float32Array, channels: number): Float32Array {
  const pixels = x.length / channels;
  const out = new Float32Array(x.length);
  for (let c = 0; c < channels; c++) {
    for (let p = 0; p < pixels; p++) out[p * channels + c] = x[c * pixels + p];
  }
  return out;
}

/** RGBA bytes → RGB in -1..1, `[H, W, 3]`. */
export function pictureToTensor({ width, height, data }: Picture): Float32Array {
  const out = new Float32Array(width * height * 3);
  for (let p = 0; p < width * height; p++) {
    for (let k = 0; k < 3; k++) out[p * 3 + k] = data[p * 4 + k] / 127.5 - 1;
  }
  return out;
}

/** RGB in -1..1, `[H, W, 3]` → RGBA bytes, rounded as diffusers rounds. */
export function tensorToPicture(x: Float32Array, width: number, height: number) {
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let p = 0; p < width * height; p++) {
    for (let k = 0; k < 3; k++) data[p * 4 + k] = Math.fround(Math.fround(x[p * 3 + k] / 2) + 0.5) * 255;
  }
  return { width, height, data };
}

/** A mask picture → 1 to repaint and 0 to keep for every latent `[h, w, 1]`: the nearest pixel's, as in diffusers. */
export function maskToLatents({ width, height, data }: Picture, factor: number): Float32Array {
  const w = width / factor, h = height / factor;
  const out = new Float32Array(w * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const p = (y * factor * width + x * factor) * 4;
      const luma = (data[p] * 299 + data[p + 1] * 587 + data[p + 2] * 114) / 1000;
      out[y * w + x] = luma >= 127.5 ? 1 : 0;
    }
  }
  return out;
}
