import { crop, type Pixels, resizePicture } from "../../image/resize.ts";
import type { Picture } from "../../pipeline/options.ts";

/** Scaled until it covers the size, and cut to it around its middle. */
export function cover(picture: Picture, { width, height }: { width: number; height: number }): Pixels {
  const scale = Math.max(width / picture.width, height / picture.height);
  const whole = resizePicture(picture, {
    width: Math.max(width, Math.round(picture.width * scale)),
    height: Math.max(height, Math.round(picture.height * scale)),
  });
  return crop(whole, { x: (whole.width - width) >> 1, y: (whole.height - height) >> 1, width, height });
}
