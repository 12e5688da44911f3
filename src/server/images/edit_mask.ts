import type { Pixels } from "../../image/resize.ts";
import type { Picture } from "../../pipeline/options.ts";

/**
 * OpenAI edits where the mask, or the picture itself, is transparent; the engine where it is white. Unless
 * `needed`, undefined where nothing is.
 */
export function editMask(
  { width, height, data }: Picture,
  { needed }: { needed: boolean },
): Pixels | undefined {
  const out = new Uint8ClampedArray(data.length).fill(255);
  let transparent = false;
  for (let p = 0; p < data.length; p += 4) {
    const alpha = data[p + 3];
    transparent ||= alpha < 255;
    out[p] = out[p + 1] = out[p + 2] = 255 - alpha;
  }
  return transparent || needed ? { width, height, data: out } : undefined;
}
