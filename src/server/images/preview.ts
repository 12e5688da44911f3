import { encodePng } from "../../image/png.ts";
import { resizePicture } from "../../image/resize.ts";
import type { Picture, Step } from "../../pipeline/options.ts";
import { base64 } from "./base64.ts";

/** A small PNG, base64: a preview knows no more than the latents. */
export function encodePreview(picture: Picture, mostPixels: number): string {
  const shrink = Math.ceil(Math.max(picture.width, picture.height) / mostPixels);
  const size = (n: number) => Math.max(1, Math.floor(n / shrink));
  const { width, height } = picture;
  const small = { width: size(width), height: size(height), filter: "nearest" as const };
  return base64(encodePng(resizePicture(picture, small)));
}

const first = new WeakMap<Step, string | undefined>();

/**
 * Of a step's first picture; written once, however often it is asked for. In place, since it takes 5 ms at 128 px:
 * who polls must not wait for the picture that the worker is at.
 */
export function firstPreview(step: Step, mostPixels: number): string | undefined {
  if (!first.has(step)) {
    const [picture] = step.preview();
    first.set(step, picture && encodePreview(picture, mostPixels));
  }
  return first.get(step);
}
