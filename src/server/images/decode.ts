import { decodePng } from "../../image/png.ts";
import { decodeJpeg, decodeWebp } from "./codecs.ts";
import { jpegSegments, readExif, webpChunks } from "./exif.ts";

export interface DecodedImage {
  width: number;
  height: number;
  /** `[height · width · 4]`, RGBA. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** The generation parameters that the file carries, if any. */
  parameters?: string;
}

/**
 * A PNG, JPEG or WebP file, told by its content. The size in its header is looked at before anything is unpacked.
 *
 * @throws {TypeError} for what is none of these, or damaged.
 * @throws {RangeError} for more than `maxPixels`.
 */
export async function decodeImage(
  bytes: Uint8Array,
  { maxPixels }: { maxPixels: number },
): Promise<DecodedImage> {
  const format = sniff(bytes);
  if (format === undefined) {
    throw new TypeError("Cannot read a picture: expected a PNG, JPEG or WebP file, found something else");
  }
  if (format === "PNG") {
    const { width, height, data, text } = decodePng(bytes, { maxPixels });
    return { width, height, data, parameters: text.parameters };
  }
  const size = format === "JPEG" ? jpegSize(bytes) : webpSize(bytes);
  if (!size || !(size.width > 0 && size.height > 0)) throw damaged(format, "no size in its header");
  if (size.width * size.height > maxPixels) {
    throw new RangeError(
      `Cannot read a picture of ${size.width}×${size.height}: expected at most ${maxPixels} pixels`,
    );
  }
  const copy = bytes.slice().buffer;
  let picture;
  try {
    picture = await (format === "JPEG" ? decodeJpeg(copy) : decodeWebp(copy));
  } catch {
    throw damaged(format, "something damaged");
  }
  const { width, height, data } = picture;
  if (width * height > maxPixels) throw damaged(format, "another size than its header's");
  return { width, height, data, parameters: exifOf(bytes, format) };
}

/** Base64, bare or as a data URL. Throws as `decodeImage`. */
export async function decodeBase64Image(text: string, limits: { maxPixels: number }): Promise<DecodedImage> {
  const bare = /^data:[^,]*,/i.test(text) ? text.slice(text.indexOf(",") + 1) : text;
  let binary: string;
  try {
    binary = atob(bare);
  } catch {
    throw new TypeError("Cannot read a picture: expected base64, found other characters");
  }
  const bytes = new Uint8Array(binary.length); // a loop: Uint8Array.from takes seconds for tens of megabytes
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return await decodeImage(bytes, limits);
}

function sniff(bytes: Uint8Array): "PNG" | "JPEG" | "WebP" | undefined {
  const starts = (text: string, at = 0) => [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0));
  if (starts("\x89PNG\r\n\x1a\n")) return "PNG";
  if (starts("\xff\xd8\xff")) return "JPEG";
  if (starts("RIFF") && starts("WEBP", 8)) return "WebP";
}

interface Size {
  width: number;
  height: number;
}

/** Of the frame header: SOF0 to SOF15 but for DHT, JPG and DAC, which share their numbers. */
function jpegSize(bytes: Uint8Array): Size | undefined {
  for (const { marker, data } of jpegSegments(bytes)) {
    if (marker < 0xc0 || marker > 0xcf || [0xc4, 0xc8, 0xcc].includes(marker) || data.length < 5) continue;
    return { height: data[1] << 8 | data[2], width: data[3] << 8 | data[4] };
  }
}

/** The largest that any of its headers claims. */
function webpSize(bytes: Uint8Array): Size | undefined {
  let size: Size | undefined;
  for (const { type, data } of webpChunks(bytes)) {
    const found = type === "VP8X" && data.length >= 10
      ? {
        width: 1 + (data[4] | data[5] << 8 | data[6] << 16),
        height: 1 + (data[7] | data[8] << 8 | data[9] << 16),
      }
      : type === "VP8 " && data.length >= 10
      ? { width: (data[6] | data[7] << 8) & 0x3fff, height: (data[8] | data[9] << 8) & 0x3fff }
      : type === "VP8L" && data.length >= 5
      ? {
        width: 1 + ((data[1] | data[2] << 8) & 0x3fff),
        height: 1 + ((data[2] >> 6 | data[3] << 2 | data[4] << 10) & 0x3fff),
      }
      : undefined;
    if (found && (!size || found.width * found.height > size.width * size.height)) size = found;
  }
  return size;
}

function exifOf(bytes: Uint8Array, format: "JPEG" | "WebP"): string | undefined {
  if (format === "WebP") {
    const chunk = webpChunks(bytes).find(({ type }) => type === "EXIF");
    return chunk && readExif(chunk.data);
  }
  for (const { marker, data } of jpegSegments(bytes)) {
    if (marker === 0xe1 && data[0] === 0x45) return readExif(data.subarray(6));
  }
}

function damaged(format: string, found: string): TypeError {
  return new TypeError(`Cannot read a picture: expected a ${format} file, found ${found}`);
}
