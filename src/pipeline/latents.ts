import type { Backend, Tensor } from "../backend/backend.ts";
import type { NoiseSource } from "../samplers/random.ts";
import { vaeEncode } from "../models/vae.ts";
import { exp } from "../samplers/math.ts";
import type { Model } from "./model.ts";
import type { Picture } from "./options.ts";
import { channelsLast, maskToLatents, pictureToTensor } from "./pixels.ts";

/** Fresh noise for a batch, `[B, h, w, L]`: image by image, each from its own generator and in NCHW order. */
export function drawNoise(b: Backend, sources: readonly NoiseSource[], shape: readonly number[]): Tensor {
  const [, height, width, channels] = shape;
  const each = height * width * channels;
  const all = new Float32Array(sources.length * each);
  sources.forEach((source, i) => all.set(channelsLast(source.randn(each), channels), i * each));
  return b.upload(all, shape);
}

/**
 * A picture's latents, `[B, h, w, L]`, scaled for the UNet: for each image of the batch a sample of the encoder's
 * distribution, drawn before any other noise, as in diffusers.
 */
export async function encodePicture(
  b: Backend,
  { vae }: Model,
  { picture, sources }: { picture: Picture; sources: readonly NoiseSource[] },
): Promise<Tensor> {
  const { scaling_factor, shift_factor, latent_channels: channels } = vae.config;
  const { width, height } = picture;
  const image = b.keep(b.upload(pictureToTensor(picture), [1, height, width, 3]));
  const encoded = b.keep(vaeEncode(b, vae, image));
  const moments = await b.read(encoded);
  b.free(image);
  b.free(encoded);
  const h = height / vae.factor, w = width / vae.factor;
  const each = h * w * channels;
  const latents = new Float32Array(sources.length * each);
  sources.forEach((source, i) => {
    const noise = channelsLast(source.randn(each), channels);
    for (let p = 0; p < h * w; p++) {
      for (let c = 0; c < channels; c++) {
        const mean = moments[p * 2 * channels + c];
        const logVariance = Math.min(20, Math.max(-30, moments[p * 2 * channels + channels + c]));
        const at = p * channels + c;
        latents[i * each + at] = (mean + exp(0.5 * logVariance) * noise[at] - shift_factor) * scaling_factor;
      }
    }
  });
  return b.upload(latents, [sources.length, h, w, channels]);
}

/** 1 where to repaint, `[B, h, w, 1]`. */
export function uploadMask(
  b: Backend,
  { mask, factor, batch }: { mask: Picture; factor: number; batch: number },
): Tensor {
  const one = maskToLatents(mask, factor);
  const all = new Float32Array(batch * one.length);
  for (let i = 0; i < batch; i++) all.set(one, i * one.length);
  return b.upload(all, [batch, mask.height / factor, mask.width / factor, 1]);
}
