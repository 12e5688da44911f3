import { encodePng } from "../../image/png.ts";
import { encodeJpeg, encodeWebp } from "./codecs.ts";
import { addToJpeg, addToWebp, writeExif } from "./exif.ts";

export const IMAGE_FORMATS = ["png", "jpeg", "webp"] as const;
export type ImageFormat = typeof IMAGE_FORMATS[number];

export interface EncodeOptions {
  format: ImageFormat;
  /** 0 to 100, of JPEG and WebP; 90 by default. */
  quality?: number;
  /** PNG: text chunks. JPEG and WebP keep `parameters` alone, in EXIF. */
  text?: Readonly<Record<string, string>>;
}

/** A file of the picture, RGBA. */
export async function encodeImage(
  { width, height, data }: { width: number; height: number; data: Uint8ClampedArray<ArrayBuffer> },
  { format, quality = 90, text = {} }: EncodeOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const exif = text.parameters === undefined ? undefined : writeExif(text.parameters);
  switch (format) {
    case "png":
      return encodePng({ width, height, data }, { text });
    case "jpeg": {
      const bytes = new Uint8Array(await encodeJpeg({ width, height, data }, quality));
      return exif ? addToJpeg(bytes, exif) : bytes;
    }
    case "webp": {
      const bytes = new Uint8Array(await encodeWebp({ width, height, data }, quality));
      return exif ? addToWebp(bytes, exif, { width, height }) : bytes;
    }
    default:
      throw new TypeError(
        `Cannot write a picture: expected png, jpeg or webp, found ${format satisfies never}`,
      );
  }
}
