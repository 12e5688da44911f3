import type { Backend } from "../backend/backend.ts";
import { clipTextForward } from "../models/clip_text.ts";
import { unetForward } from "../models/unet.ts";
import { vaeDecode } from "../models/vae.ts";
import { checkTokenMerging } from "../tome/options.ts";
import type { Model } from "./model.ts";

/**
 * Has a device begin to compile what a picture of the model's own size takes, with guidance, without and with
 * merging; does nothing where nothing is compiled. Other sizes take a few kernels more, compiled when they come.
 */
export function warmUp(b: Backend, { text, unet, vae, tokenizer, info }: Model): void {
  if (!b.prepare) return;
  const width = info.nativeWidth / vae.factor, height = info.nativeHeight / vae.factor;
  const { in_channels, time_cond_proj_dim: condChannels } = unet.config;
  const branches = condChannels === null ? 2 : 1;
  const timestepCond = condChannels === null ? undefined : new Float32Array(condChannels);
  const merging = {
    options: checkTokenMerging({ ratio: 0.5 }),
    latentHeight: height,
    latentWidth: width,
    seeds: [0],
    branches,
    step: 0,
  };
  const { ids } = tokenizer.encodeAll("");
  try {
    b.prepare(() => {
      const context = clipTextForward(b, text, new Array(branches).fill(ids));
      const latents = b.empty([1, height, width, vae.config.latent_channels]);
      const x = b.empty([branches, height, width, in_channels]);
      for (const merged of [undefined, merging]) {
        b.scope(() => {
          const y = unetForward(b, unet, x, { timestep: 0, timestepCond, context, merging: merged });
          b.stack([latents, b.lincomb([[1, latents], [1, b.rows(y, 0, 1)]])]);
        });
      }
      vaeDecode(b, vae, latents);
    });
  } catch (error) {
    // Too large for the device: such a picture is refused when it is asked for, a smaller one is not.
    if (!(error instanceof RangeError)) throw error;
  }
}
