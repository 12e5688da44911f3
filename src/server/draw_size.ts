import type { ModelInfo } from "../pipeline/options.ts";

export interface DrawSize {
  width: number;
  height: number;
  /** The picture is then scaled to what was wanted. */
  scaled: boolean;
}

/** An area beyond the model's own by more than this factor is drawn near its own and scaled up. */
const FAR_LARGER = 4;

/**
 * The size to draw where `wanted` is asked for. Clients ask for 512×512 whatever the model is: with `upscale`, a
 * model whose native size is far smaller draws near that, in the same aspect, and any size is rounded up to one
 * that it can draw. Without, exactly what is wanted is drawn; the engine refuses what cannot be.
 */
export function drawSize(
  wanted: { width: number; height: number },
  { factor, nativeWidth, nativeHeight }: ModelInfo,
  upscale: boolean,
): DrawSize {
  if (!upscale) return { ...wanted, scaled: false };
  const share = wanted.width * wanted.height / (nativeWidth * nativeHeight);
  const scale = share > FAR_LARGER ? 1 / Math.sqrt(share) : 1;
  const fit = (n: number) =>
    Math.max(1, scale === 1 ? Math.ceil(n / factor) : Math.round(n * scale / factor)) * factor;
  const width = fit(wanted.width), height = fit(wanted.height);
  return { width, height, scaled: width !== wanted.width || height !== wanted.height };
}
