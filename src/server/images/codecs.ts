import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** jSquash's codecs (MozJPEG and libwebp as WebAssembly), loaded when first needed. */
interface Codec<F> {
  default: F;
  init(module: WebAssembly.Module, options: { printErr: () => void }): Promise<void>;
}

interface RawPicture {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

type Encode = (picture: ImageData, options: { quality: number }) => Promise<ArrayBuffer>;
type Decode = (bytes: ArrayBuffer) => Promise<RawPicture>;

/** The specifiers are written out, so that Bun's installer and Deno's cache see them. */
const CODECS = {
  encodeJpeg: [
    () => import("@jsquash/jpeg/encode.js"),
    () => import.meta.resolve("@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm"),
  ],
  decodeJpeg: [
    () => import("@jsquash/jpeg/decode.js"),
    () => import.meta.resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"),
  ],
  encodeWebp: [
    () => import("@jsquash/webp/encode.js"),
    () => import.meta.resolve("@jsquash/webp/codec/enc/webp_enc_simd.wasm"),
  ],
  decodeWebp: [
    () => import("@jsquash/webp/decode.js"),
    () => import.meta.resolve("@jsquash/webp/codec/dec/webp_dec.wasm"),
  ],
} as const;

export type CodecFiles = Record<keyof typeof CODECS, string>;

/** Where the WebAssembly is, for a worker: on Bun, only the main thread can find it in all cases. */
export function codecFiles(): CodecFiles {
  return Object.fromEntries(Object.entries(CODECS).map(([name, [, wasm]]) => [name, wasm()])) as CodecFiles;
}

let files: CodecFiles | undefined;

/** In a worker: what `codecFiles` says on the main thread. */
export function useCodecFiles(found: CodecFiles): void {
  files = found;
}

const ready = new Map<keyof typeof CODECS, Promise<unknown>>();

export const encodeJpeg = (picture: RawPicture, quality: number) =>
  use<Encode, ArrayBuffer>("encodeJpeg", (encode) => encode(picture as ImageData, { quality }));
export const encodeWebp = (picture: RawPicture, quality: number) =>
  use<Encode, ArrayBuffer>("encodeWebp", (encode) => encode(picture as ImageData, { quality }));
export const decodeJpeg = (bytes: ArrayBuffer) =>
  use<Decode, RawPicture>("decodeJpeg", (decode) => decode(bytes));
export const decodeWebp = (bytes: ArrayBuffer) =>
  use<Decode, RawPicture>("decodeWebp", (decode) => decode(bytes));

async function use<F, R>(name: keyof typeof CODECS, work: (codec: F) => Promise<R>): Promise<R> {
  let codec = ready.get(name);
  if (!codec) ready.set(name, codec = load(name));
  try {
    return await work(await codec as F);
  } catch (error) {
    ready.delete(name); // what stumbled over a file may be in any state: the next one gets a fresh instance
    throw error;
  }
}

async function load(name: keyof typeof CODECS): Promise<unknown> {
  // The decoders make one of these; Bun has none.
  (globalThis as { ImageData?: unknown }).ImageData ??= class {
    constructor(readonly data: Uint8ClampedArray, readonly width: number, readonly height: number) {}
  };
  const [importCodec, wasm] = CODECS[name];
  const codec = await importCodec() as unknown as Codec<unknown>;
  const file = fileURLToPath(files?.[name] ?? wasm());
  await codec.init(await WebAssembly.compile(new Uint8Array(await readFile(file))), {
    printErr: () => {}, // what is wrong with a file is ours to say
  });
  return codec.default;
}
