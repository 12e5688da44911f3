/**
 * Which layers take part.
 *
 * @module
 */

export interface Grid {
  height: number;
  width: number;
}

/** By how much a layer of `tokens` tokens is down-sampled against the latents, as tomesd reckons: ⌈√⌊H₀W₀/N⌋⌉. */
export function downsampling(latent: Grid, tokens: number): number {
  return Math.ceil(Math.sqrt(Math.floor(latent.height * latent.width / tokens)));
}

/** The grid of a layer by its down-sampling alone, ⌈H₀/d⌉ × ⌈W₀/d⌉: for a layer that does not know its own. */
export function layerGrid(latent: Grid, downsample: number): Grid {
  return { height: Math.ceil(latent.height / downsample), width: Math.ceil(latent.width / downsample) };
}
