import { psnr, ssim } from "../../../image/metrics.ts";
import { type DecodedPng, decodePng } from "../../../image/png.ts";
import type { Drawn } from "./api.ts";

const urls = new WeakMap<Drawn, string>();

/** An address of the PNG within this page. */
export function urlOf(drawn: Drawn): string {
  let url = urls.get(drawn);
  if (!url) urls.set(drawn, url = URL.createObjectURL(new Blob([drawn.bytes], { type: "image/png" })));
  return url;
}

/** What the picture takes is given back; it must no longer be shown. */
export function release(drawn: Drawn): void {
  const url = urls.get(drawn);
  if (url) URL.revokeObjectURL(url);
  urls.delete(drawn);
}

export function fileName({ request }: Drawn): string {
  const words = request.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40);
  return `${words || "picture"}-${request.seed}-r${request.token_merging.ratio}.png`;
}

export interface Likeness {
  psnr: number;
  ssim: number;
}

const pixels = new WeakMap<Drawn, DecodedPng>();

/** Our own decoder, since some browsers blur what a canvas says, against fingerprints. */
export function pixelsOf(drawn: Drawn): DecodedPng {
  let decoded = pixels.get(drawn);
  if (!decoded) pixels.set(drawn, decoded = decodePng(drawn.bytes));
  return decoded;
}

/** By the second picture: views ask again at every step that is drawn. */
const measured = new WeakMap<Drawn, { to: Drawn; likeness: Likeness }>();

/** SSIM is NaN for pictures below 11 pixels, where it is not defined. */
export function likeness(a: Drawn, b: Drawn): Likeness {
  const known = measured.get(b);
  if (known?.to === a) return known.likeness;
  const [x, y] = [pixelsOf(a), pixelsOf(b)];
  const likeness = { psnr: psnr(x, y), ssim: Math.min(x.width, x.height) < 11 ? NaN : ssim(x, y) };
  measured.set(b, { to: a, likeness });
  return likeness;
}
