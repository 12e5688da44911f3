import { resizePicture } from "../../image/resize.ts";
import { cover } from "./cover.ts";
import { decodeBase64Image, decodeImage } from "./decode.ts";
import { editMask } from "./edit_mask.ts";
import { encodeImage } from "./encode.ts";
import { finishInpainting, startInpainting } from "./inpaint.ts";
import { encodePreview } from "./preview.ts";

/** What takes long with a picture. All of it crosses to a worker: data in, data out, and errors of these classes. */
export const WORK = {
  encode: encodeImage,
  decode: decodeImage,
  decodeBase64: decodeBase64Image,
  preview: encodePreview,
  resize: resizePicture,
  cover,
  editMask,
  startInpainting,
  finishInpainting,
};

export type Work = typeof WORK;
export type WorkName = keyof Work;

/** Buffers within data, which move to the other side instead of being copied. */
export function buffersOf(data: unknown, found: Set<ArrayBuffer> = new Set()): ArrayBuffer[] {
  if (ArrayBuffer.isView(data)) {
    if (data.buffer instanceof ArrayBuffer) found.add(data.buffer);
  } else if (typeof data === "object" && data !== null) {
    for (const value of Object.values(data)) buffersOf(value, found);
  }
  return [...found];
}
