/**
 * Generation parameters in JPEG and WebP files, where AUTOMATIC1111 writes and reads them: EXIF's UserComment, as
 * UTF-16. (EXIF 2.32, 4.6.5; TIFF 6.0; WebP container specification.)
 *
 * @module
 */

const USER_COMMENT = 0x9286, EXIF_IFD = 0x8769;
/** A JPEG segment holds 64 kB; two bytes a character. */
const MAX_CHARACTERS = 32_000;
/** WebP's flags of the VP8X chunk. */
const HAS_EXIF = 0x08, HAS_ALPHA = 0x10;

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** An EXIF block (a TIFF file, big-endian) whose one field is the comment. */
export function writeExif(text: string): Uint8Array<ArrayBuffer> {
  const comment = text.slice(0, MAX_CHARACTERS);
  const bytes = new Uint8Array(44 + 8 + 2 * comment.length);
  const view = new DataView(bytes.buffer);
  bytes.set(ascii("MM\0*"));
  view.setUint32(4, 8); // the first directory
  const directory = (at: number, tag: number, type: number, count: number, value: number) => {
    view.setUint16(at, 1);
    view.setUint16(at + 2, tag);
    view.setUint16(at + 4, type);
    view.setUint32(at + 6, count);
    view.setUint32(at + 10, value);
  };
  directory(8, EXIF_IFD, 4, 1, 26);
  directory(26, USER_COMMENT, 7, 8 + 2 * comment.length, 44);
  bytes.set(ascii("UNICODE\0"), 44);
  for (let i = 0; i < comment.length; i++) view.setUint16(52 + 2 * i, comment.charCodeAt(i));
  return bytes;
}

/** The comment of an EXIF block; undefined if it has none or is damaged. */
export function readExif(bytes: Uint8Array): string | undefined {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const little = view.getUint16(0) === 0x4949;
    const find = (at: number, tag: number): number | undefined => {
      for (let i = view.getUint16(at, little), entry = at + 2; i > 0; i--, entry += 12) {
        if (view.getUint16(entry, little) === tag) return entry;
      }
    };
    const exif = find(view.getUint32(4, little), EXIF_IFD);
    const entry = exif && find(view.getUint32(exif + 8, little), USER_COMMENT);
    if (!entry) return undefined;
    const count = view.getUint32(entry + 4, little), at = view.getUint32(entry + 8, little);
    const value = bytes.subarray(at, at + count);
    const kind = String.fromCharCode(...value.subarray(0, 8));
    if (kind === "ASCII\0\0\0") return new TextDecoder().decode(value.subarray(8));
    if (kind !== "UNICODE\0") return undefined;
    return new TextDecoder(little ? "utf-16le" : "utf-16be").decode(value.subarray(8));
  } catch {
    return undefined; // an offset beyond the end
  }
}

/** After JFIF's own segment, which must come first. */
export function addToJpeg(jpeg: Uint8Array, exif: Uint8Array): Uint8Array<ArrayBuffer> {
  const hasJfif = jpeg[2] === 0xff && jpeg[3] === 0xe0;
  const at = hasJfif ? 4 + (jpeg[4] << 8 | jpeg[5]) : 2;
  const length = 2 + 6 + exif.length;
  const head = Uint8Array.of(0xff, 0xe1, length >> 8, length & 255, ...ascii("Exif\0\0"));
  return concat([jpeg.subarray(0, at), head, exif, jpeg.subarray(at)]);
}

/** A simple file becomes an extended one. */
export function addToWebp(
  webp: Uint8Array,
  exif: Uint8Array,
  { width, height }: { width: number; height: number },
): Uint8Array<ArrayBuffer> {
  const pixels = webpChunks(webp).filter(({ type }) => /^(VP8 |VP8L|ALPH)$/.test(type));
  const alpha = pixels.some(({ type }) => type !== "VP8 ");
  const size = (n: number) => [n - 1 & 255, n - 1 >> 8 & 255, n - 1 >> 16];
  const header = Uint8Array.of(HAS_EXIF | (alpha ? HAS_ALPHA : 0), 0, 0, 0, ...size(width), ...size(height));
  const chunks = [{ type: "VP8X", data: header }, ...pixels, { type: "EXIF", data: exif }].map(
    ({ type, data }) => {
      const head = new Uint8Array(8);
      head.set(ascii(type));
      new DataView(head.buffer).setUint32(4, data.length, true);
      return concat([head, data, new Uint8Array(data.length & 1)]);
    },
  );
  const body = concat([ascii("WEBP"), ...chunks]);
  const head = new Uint8Array(8);
  head.set(ascii("RIFF"));
  new DataView(head.buffer).setUint32(4, body.length, true);
  return concat([head, body]);
}

/** A JPEG's segments before its pixels. */
export function* jpegSegments(jpeg: Uint8Array): Generator<{ marker: number; data: Uint8Array }> {
  for (let at = 2; at + 4 <= jpeg.length && jpeg[at] === 0xff;) {
    const marker = jpeg[at + 1];
    if (marker === 0xff) { // fill
      at++;
      continue;
    }
    const length = jpeg[at + 2] << 8 | jpeg[at + 3];
    yield { marker, data: jpeg.subarray(at + 4, at + 2 + length) };
    if (marker === 0xda || length < 2) return;
    at += 2 + length;
  }
}

export function webpChunks(webp: Uint8Array): { type: string; data: Uint8Array }[] {
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength);
  const chunks = [];
  for (let at = 12; at + 8 <= webp.length;) {
    const length = view.getUint32(at + 4, true);
    chunks.push({
      type: String.fromCharCode(...webp.subarray(at, at + 4)),
      data: webp.subarray(at + 8, at + 8 + length),
    });
    at += 8 + length + (length & 1);
  }
  return chunks;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
