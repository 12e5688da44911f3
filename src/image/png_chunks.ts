/**
 * The container of PNG (W3C PNG, third edition): signature, chunks with checksums, text in chunks.
 *
 * @module
 */
import { Unzlib } from "fflate";
import { quote } from "../quote.ts";

export const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

export interface Chunk {
  type: string;
  data: Uint8Array;
}

/** Longest text that is unpacked from a compressed chunk. */
const MAX_TEXT_BYTES = 1 << 20;

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes: Uint8Array): number {
  let c = -1;
  for (let i = 0; i < bytes.length; i++) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

export function damaged(expected: string, found: string): TypeError {
  return new TypeError(`Cannot read the PNG: expected ${expected}, found ${found}`);
}

export function writeChunks(chunks: readonly Chunk[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(chunks.reduce((size, { data }) => size + 12 + data.length, SIGNATURE.length));
  const view = new DataView(out.buffer);
  out.set(SIGNATURE);
  let at = SIGNATURE.length;
  for (const { type, data } of chunks) {
    view.setUint32(at, data.length);
    for (let i = 0; i < 4; i++) out[at + 4 + i] = type.charCodeAt(i);
    out.set(data, at + 8);
    view.setUint32(at + 8 + data.length, crc32(out.subarray(at + 4, at + 8 + data.length)));
    at += 12 + data.length;
  }
  return out;
}

/** All chunks up to IEND; what follows it is not read. */
export function readChunks(bytes: Uint8Array): Chunk[] {
  if (!SIGNATURE.every((byte, i) => bytes[i] === byte)) {
    throw damaged("its signature", bytes.length < 8 ? `${bytes.length} bytes` : "another");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const chunks: Chunk[] = [];
  let at = SIGNATURE.length;
  for (;;) {
    if (at + 12 > bytes.length) throw damaged("a chunk IEND", `the end at byte ${bytes.length}`);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) throw damaged("a chunk's name of four letters", quote(type));
    if (at + 12 + length > bytes.length) {
      throw damaged(`a chunk ${type} of ${length} bytes`, `the end at byte ${bytes.length}`);
    }
    if (view.getUint32(at + 8 + length) !== crc32(bytes.subarray(at + 4, at + 8 + length))) {
      throw damaged(`the checksum of chunk ${type}`, "another");
    }
    if (type === "IEND") return chunks;
    chunks.push({ type, data: bytes.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
}

/**
 * Unpacks zlib data of a known or a largest size. The input goes in by small pieces, so that a bomb is noticed
 * before it has filled the memory.
 */
export function inflate(parts: readonly Uint8Array[], limit: { atMost: number }): Uint8Array {
  const out: Uint8Array[] = [];
  let size = 0;
  const unzlib = new Unzlib((data) => {
    size += data.length;
    if (size > limit.atMost) throw damaged(`at most ${limit.atMost} unpacked bytes`, "more");
    out.push(data.slice());
  });
  const piece = 4096;
  try {
    for (const part of parts) {
      for (let at = 0; at < part.length; at += piece) unzlib.push(part.subarray(at, at + piece), false);
    }
    unzlib.push(new Uint8Array(0), true);
  } catch (error) {
    if (error instanceof TypeError && error.message.startsWith("Cannot read the PNG")) throw error;
    throw damaged("zlib data", quote((error as Error).message));
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const data of out) {
    whole.set(data, at);
    at += data.length;
  }
  return whole;
}

/** tEXt where Latin-1 can hold the text, as other tools write and read it, else iTXt in UTF-8. */
export function textChunk(keyword: string, text: string): Chunk {
  if (!/^[\x21-\x7e\xa1-\xff]([\x20-\x7e\xa1-\xff]{0,77}[\x21-\x7e\xa1-\xff])?$/.test(keyword)) {
    throw new RangeError(
      `Cannot write PNG text: expected a name of 1 to 79 Latin-1 characters, found ${quote(keyword)}`,
    );
  }
  text = text.replaceAll("\0", "\ufffd");
  if (/^[\t\n\r\x20-\x7e\xa0-\xff]*$/.test(text)) {
    return { type: "tEXt", data: Uint8Array.from(`${keyword}\0${text}`, (c) => c.charCodeAt(0)) };
  }
  const name = Uint8Array.from(`${keyword}\0\0\0\0\0`, (c) => c.charCodeAt(0));
  const body = new TextEncoder().encode(text);
  const data = new Uint8Array(name.length + body.length);
  data.set(name);
  data.set(body, name.length);
  return { type: "iTXt", data };
}

/** Name and text of a chunk tEXt, zTXt or iTXt; nothing of a malformed one, since a picture can do without. */
export function readText({ type, data }: Chunk): [name: string, text: string] | undefined {
  const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const unpack = (bytes: Uint8Array) => inflate([bytes], { atMost: MAX_TEXT_BYTES });
  if (data.length > MAX_TEXT_BYTES) return undefined;
  const end = data.indexOf(0);
  if (end < 1) return undefined;
  const name = latin1(data.subarray(0, end));
  try {
    if (type === "tEXt") return [name, latin1(data.subarray(end + 1))];
    if (type === "zTXt") return [name, latin1(unpack(data.subarray(end + 2)))];
    if (type === "iTXt") {
      const language = data.indexOf(0, end + 3);
      const translated = data.indexOf(0, language + 1);
      if (language < 0 || translated < 0) return undefined;
      const body = data.subarray(translated + 1);
      return [
        name,
        new TextDecoder("utf-8", { fatal: true }).decode(data[end + 1] === 1 ? unpack(body) : body),
      ];
    }
  } catch {
    return undefined;
  }
}
