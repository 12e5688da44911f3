import { blurPicture, type Box, crop, paste, type Pixels, resizePicture } from "../../image/resize.ts";
import type { Picture } from "../../pipeline/options.ts";

/** What is drawn for an inpainting, and where the result goes. */
export interface Inpainting {
  image: Pixels;
  mask: Pixels;
  /** The whole picture, and the part of it that is drawn. */
  base: Pixels;
  area: Box;
}

/** AUTOMATIC1111's own names. */
export interface InpaintOptions {
  width: number;
  height: number;
  mask_blur: number;
  inpainting_fill: number;
  inpaint_full_res: boolean;
  inpaint_full_res_padding: number;
  inpainting_mask_invert: number;
}

/** As AUTOMATIC1111: white is drawn anew, and what is black keeps the pixels of the original. */
export function startInpainting(original: Picture, given: Picture, options: InpaintOptions): Inpainting {
  const { width, height, inpaint_full_res, inpaint_full_res_padding: padding } = options;
  const grey = greyMask(resizePicture(given, original), options.inpainting_mask_invert === 1);
  const mask = blur(grey, options.mask_blur);
  const box = inpaint_full_res ? maskedBox(mask, { padding, aspect: width / height }) : undefined;
  const base = box ? resizePicture(original, original) : resizePicture(original, { width, height });
  const area = box ?? { x: 0, y: 0, width, height };
  const part = crop(base, area);
  const partMask = crop(box ? mask : resizePicture(mask, { width, height }), area);
  return {
    image: options.inpainting_fill === 0 ? fill(part, partMask) : part,
    mask: partMask,
    base,
    area,
  };
}

/** The finished picture from what was drawn. */
export function finishInpainting(drawn: Picture, { base, area, mask }: Omit<Inpainting, "image">): Pixels {
  return paste(base, resizePicture(drawn, area), { ...area, mask });
}

/** A wide blur of a large mask is that of a smaller one scaled up: the difference cannot be seen, and it takes seconds. */
function blur(mask: Pixels, radius: number): Pixels {
  const { width, height } = mask;
  const shrink = Math.min(Math.floor(radius / 2), Math.floor(width * height * radius / 4e6));
  if (shrink <= 1) return blurPicture(mask, radius);
  const small = resizePicture(mask, {
    width: Math.max(1, Math.round(width / shrink)),
    height: Math.max(1, Math.round(height / shrink)),
  });
  return resizePicture(blurPicture(small, radius / shrink), { width, height });
}

function greyMask({ width, height, data }: Picture, invert: boolean): Pixels {
  const out = new Uint8ClampedArray(data.length).fill(255);
  for (let p = 0; p < data.length; p += 4) {
    const luma = (data[p] * 299 + data[p + 1] * 587 + data[p + 2] * 114) / 1000;
    out.fill(invert ? 255 - luma : luma, p, p + 3);
  }
  return { width, height, data: out };
}

/** What is masked, with padding around, widened to the aspect; undefined where nothing is. */
function maskedBox(
  { width, height, data }: Pixels,
  { padding, aspect }: { padding: number; aspect: number },
): Box | undefined {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[(y * width + x) * 4] === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y + 1);
    }
  }
  if (right <= left) return undefined;
  const widen = (from: number, to: number, size: number, limit: number): [number, number] => {
    const whole = Math.min(limit, Math.round(size));
    const start = Math.min(limit - whole, Math.max(0, Math.round((from + to - whole) / 2)));
    return [start, whole];
  };
  const w = Math.min(width, right - left + 2 * padding), h = Math.min(height, bottom - top + 2 * padding);
  const [x, boxWidth] = widen(left, right, Math.max(w, h * aspect), width);
  const [y, boxHeight] = widen(top, bottom, Math.max(h, w / aspect), height);
  return { x, y, width: boxWidth, height: boxHeight };
}

/** Colours from around flow into what is masked: fine ones near its edge, coarse ones far from it. */
function fill(picture: Pixels, mask: Pixels): Pixels {
  const { width, height } = picture;
  const open = { width, height, data: picture.data.slice() };
  for (let p = 3; p < open.data.length; p += 4) open.data[p] = 255 - mask.data[p - 3];
  let out: Pixels = picture;
  for (const cell of [256, 64, 16, 4, 1]) {
    const small = {
      width: Math.max(1, Math.ceil(width / cell)),
      height: Math.max(1, Math.ceil(height / cell)),
    };
    const spread = resizePicture(resizePicture(open, small), { width, height });
    const alpha = { width, height, data: new Uint8ClampedArray(spread.data.length) };
    for (let p = 0; p < alpha.data.length; p += 4) {
      alpha.data.fill(spread.data[p + 3], p, p + 4);
      spread.data[p + 3] = 255;
    }
    out = paste(out, spread, { mask: alpha });
  }
  return out;
}
