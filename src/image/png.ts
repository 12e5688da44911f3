/**
 * PNG files, written with the same bytes on every runtime.
 *
 * Own code over fflate's deflate: a runtime's own zlib would give other bytes on another runtime, and fast-png
 * (8.0) writes rows unfiltered (half as much again in size), only Latin-1 text, and unpacks without a limit.
 *
 * @module
 */
import { zlibSync } from "fflate";
import { type Chunk, damaged, inflate, readChunks, readText, textChunk, writeChunks } from "./png_chunks.ts";
import { filterRows, unfilterRows } from "./png_filters.ts";

/** `[height, width, 4]`: red, green, blue and alpha, 8 bits each, row-major, alpha not multiplied in. */
export interface RgbaImage {
  width: number;
  height: number;
  data: Uint8ClampedArray | Uint8Array;
}

/**
 * A PNG file of 8 bits a channel: RGB if every pixel is opaque, else RGBA.
 *
 * @param options.text text chunks by name, written before the pixels as tEXt or, beyond Latin-1, iTXt
 * @throws {RangeError} if the data does not have the size, or a name is not 1 to 79 Latin-1 characters.
 */
export function encodePng(
  image: RgbaImage,
  options: { text?: Readonly<Record<string, string>> } = {},
): Uint8Array<ArrayBuffer> {
  const { width, height, data } = image;
  const isSize = (n: number) => Number.isInteger(n) && n >= 1 && n <= 0x7fffffff;
  if (!isSize(width) || !isSize(height) || data.length !== width * height * 4) {
    throw new RangeError(
      `Cannot write a PNG: expected width · height · 4 values, found ${width} · ${height} and ${data.length} values`,
    );
  }
  const channels = isOpaque(data) ? 3 : 4;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, channels === 3 ? 2 : 6, 0, 0, 0], 8);
  const rows = filterRows(channels === 3 ? dropAlpha(data) : data, { height, bytesPerPixel: channels });
  return writeChunks([
    { type: "IHDR", data: header },
    ...Object.entries(options.text ?? {}).map(([name, text]) => textChunk(name, text)),
    // `mem` is stated because fflate would else derive it with Math.log.
    { type: "IDAT", data: zlibSync(rows, { level: 6, mem: 8 }) },
    { type: "IEND", data: new Uint8Array(0) },
  ]);
}

export interface DecodedPng {
  width: number;
  height: number;
  /** `[height, width, 4]`: RGBA, 8 bits each. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Texts of the chunks tEXt, zTXt and iTXt by name. */
  text: Record<string, string>;
}

/** Values of a pixel by colour type. */
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Record<number, number[]> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

/** First column and row, and their steps, of the passes of an interlaced picture. */
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [
  0,
  1,
  1,
  2,
]];

/**
 * Reads any PNG as RGBA of 8 bits: grey, palette, 1 to 16 bits, transparent colours, interlaced. Colour profiles
 * and gamma are not applied; of an animation it is the still picture.
 *
 * @param limits.maxPixels 4096 · 4096 by default, checked before anything is unpacked
 * @throws {RangeError} if the picture is larger.
 * @throws {TypeError} if the bytes are no PNG or damaged.
 */
export function decodePng(bytes: Uint8Array, limits: { maxPixels?: number } = {}): DecodedPng {
  const chunks = readChunks(bytes);
  const { width, height, depth, colour, interlaced } = readHeader(chunks[0]);
  const maxPixels = limits.maxPixels ?? 4096 * 4096;
  if (width * height > maxPixels) {
    throw new RangeError(
      `Cannot read the PNG: expected at most ${maxPixels} pixels, found ${width}x${height}`,
    );
  }
  const { palette, transparent, packed, text } = readRest(chunks.slice(1));
  if (colour === 3 && palette === undefined) throw damaged("a palette", "none");

  const channels = CHANNELS[colour];
  const bitsPerPixel = channels * depth;
  const passes = (interlaced ? ADAM7 : [[0, 0, 1, 1]])
    .map(([x, y, dx, dy]) => ({
      x,
      y,
      dx,
      dy,
      w: Math.ceil((width - x) / dx),
      h: Math.ceil((height - y) / dy),
    }))
    .filter(({ w, h }) => w > 0 && h > 0)
    .map((pass) => ({ ...pass, rowBytes: Math.ceil(pass.w * bitsPerPixel / 8) }));
  const expected = passes.reduce((sum, { h, rowBytes }) => sum + h * (1 + rowBytes), 0);
  const raw = inflate(packed, { atMost: expected });
  if (raw.length < expected) throw damaged(`${expected} unpacked bytes`, `${raw.length}`);

  const data = new Uint8ClampedArray(width * height * 4);
  const toRgba = pixelReader({ depth, colour, palette, transparent });
  let at = 0;
  for (const { x, y, dx, dy, w, h, rowBytes } of passes) {
    const end = at + h * (1 + rowBytes);
    const rows = unfilterRows(raw.subarray(at, end), {
      rowBytes,
      bytesPerPixel: Math.ceil(bitsPerPixel / 8),
    });
    for (let j = 0; j < h; j++) {
      const row = rows.subarray(j * rowBytes, (j + 1) * rowBytes);
      for (let i = 0; i < w; i++) toRgba(row, i, data, ((y + j * dy) * width + x + i * dx) * 4);
    }
    at = end;
  }
  return { width, height, data, text: Object.fromEntries(text) };
}

function readHeader(chunk: Chunk | undefined) {
  if (chunk?.type !== "IHDR" || chunk.data.length !== 13) {
    throw damaged("a chunk IHDR first", chunk?.type ?? "nothing");
  }
  const view = new DataView(chunk.data.buffer, chunk.data.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour, compression, filter, interlace] = chunk.data.subarray(8);
  if (width < 1 || height < 1 || width > 0x7fffffff || height > 0x7fffffff) {
    throw damaged("a width and height from 1", `${width}x${height}`);
  }
  if (!DEPTHS[colour]?.includes(depth)) {
    throw damaged("a known kind of pixel", `colour type ${colour} of ${depth} bits`);
  }
  if (compression !== 0 || filter !== 0 || interlace > 1) {
    throw damaged("methods 0 0 0 or 0 0 1", `${compression} ${filter} ${interlace}`);
  }
  return { width, height, depth, colour, interlaced: interlace === 1 };
}

function readRest(chunks: readonly Chunk[]) {
  let palette: Uint8Array | undefined;
  let transparent: Uint8Array | undefined;
  const packed: Uint8Array[] = [];
  const text = new Map<string, string>();
  for (const chunk of chunks) {
    if (chunk.type === "IDAT") packed.push(chunk.data);
    else if (chunk.type === "PLTE") {
      if (chunk.data.length % 3 !== 0 || chunk.data.length > 768) {
        throw damaged("a palette of at most 256 colours", `${chunk.data.length} bytes`);
      }
      palette = chunk.data;
    } else if (chunk.type === "tRNS") transparent = chunk.data;
    else if (chunk.type === "tEXt" || chunk.type === "zTXt" || chunk.type === "iTXt") {
      const found = readText(chunk);
      if (found) text.set(...found);
    } else if (/^[A-Z]/.test(chunk.type)) throw damaged("only chunks that PNG defines as needed", chunk.type);
  }
  if (packed.length === 0) throw damaged("a chunk IDAT", "none");
  return { palette, transparent, packed, text };
}

type PixelReader = (row: Uint8Array, i: number, out: Uint8ClampedArray, at: number) => void;

function pixelReader(
  format: { depth: number; colour: number; palette?: Uint8Array; transparent?: Uint8Array },
): PixelReader {
  const { depth, colour, palette, transparent } = format;
  const channels = CHANNELS[colour];
  const sample = (row: Uint8Array, k: number): number => {
    if (depth === 8) return row[k];
    if (depth === 16) return row[2 * k] << 8 | row[2 * k + 1];
    const bit = k * depth;
    return row[bit >> 3] >> (8 - depth - (bit & 7)) & ((1 << depth) - 1);
  };
  const scale = 255 / (2 ** depth - 1);
  const to8 = (value: number) => Math.round(value * scale);

  if (colour === 3) {
    return (row, i, out, at) => {
      const index = sample(row, i);
      if (3 * index >= palette!.length) throw damaged(`colours 0 to ${palette!.length / 3 - 1}`, `${index}`);
      for (let c = 0; c < 3; c++) out[at + c] = palette![3 * index + c];
      out[at + 3] = transparent?.[index] ?? 255;
    };
  }
  const colours = channels >= 3 ? 3 : 1;
  const hasAlpha = channels === 2 || channels === 4;
  // The one colour that counts as transparent, 16 bits a value.
  const key = !hasAlpha && transparent !== undefined && transparent.length === 2 * colours
    ? Array.from(
      { length: colours },
      (_, c) => (transparent[2 * c] << 8 | transparent[2 * c + 1]) % 2 ** depth,
    )
    : undefined;
  return (row, i, out, at) => {
    let isKey = key !== undefined;
    for (let c = 0; c < 3; c++) {
      const value = sample(row, i * channels + (colours === 3 ? c : 0));
      if (isKey && value !== key![colours === 3 ? c : 0]) isKey = false;
      out[at + c] = to8(value);
    }
    out[at + 3] = hasAlpha ? to8(sample(row, i * channels + channels - 1)) : isKey ? 0 : 255;
  };
}

function isOpaque(data: ArrayLike<number>): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return false;
  return true;
}

function dropAlpha(data: ArrayLike<number>): Uint8Array {
  const out = new Uint8Array(data.length / 4 * 3);
  for (let i = 0, o = 0; i < data.length; i += 4) {
    out[o++] = data[i];
    out[o++] = data[i + 1];
    out[o++] = data[i + 2];
  }
  return out;
}
