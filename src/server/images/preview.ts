import { encodePng } from "../../image/png.ts";
import { resizePicture } from "../../image/resize.ts";
import type { Step } from "../../pipeline/options.ts";
import { base64 } from "./base64.ts";

/** A small PNG, base64: a preview knows no more than the latents, and writing a large one holds everybody up. */
export function encodePreview(picture: ReturnType<Step["preview"]>[number], mostPixels: number): string {
  const shrink = Math.ceil(Math.max(picture.width, picture.height) / mostPixels);
  const size = (n: number) => Math.max(1, Math.floor(n / shrink));
  const { width, height } = picture;
  const small = { width: size(width), height: size(height), filter: "nearest" as const };
  return base64(encodePng(resizePicture(picture, small)));
}

const first = new WeakMap<Step, string | undefined>();

/** Of a step's first picture; written once, however often it is asked for. */
export function firstPreview(step: Step, mostPixels: number): string | undefined {
  if (!first.has(step)) {
    const [picture] = step.preview();
    first.set(step, picture && encodePreview(picture, mostPixels));
  }
  return first.get(step);
}
