/**
 * Reads `.safetensors`: 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes.
 * Every rule that the format's own Rust reader enforces is checked before a tensor is handed out, so that a
 * damaged or hostile file is one clear `CheckpointError`, and tensors are read one at a time by byte range.
 *
 * Format: github.com/huggingface/safetensors, README, "Format".
 *
 * @module
 */
import type { HostTensor } from "../backend/backend.ts";
import { CheckpointError, quote } from "../errors.ts";
import { type ByteSource, decodeUtf8 } from "./source.ts";

/** Bits of one element. Models take F16, BF16 and F32; the others are listed with their size only. */
const DTYPE_BITS = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  F8_E8M0: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** One tensor as the header states it. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Absolute positions in the file. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsFile {
  readonly name: string;
  /** The header's `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The bytes of one tensor, at an offset of their buffer that any typed array accepts.
   *
   * @throws {CheckpointError} if there is no such tensor or it is not F16, BF16 or F32.
   */
  read(name: string): Promise<HostTensor>;
  /** The bytes of one tensor of any type. */
  readBytes(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The limit of the format's own reader. */
export const MAX_HEADER_BYTES = 100_000_000;

/**
 * Reads and checks the header.
 *
 * @throws {CheckpointError} with one line that names the file, what was expected and what was found.
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const fail = (expected: string, found: string, cause?: unknown): never => {
    throw new CheckpointError(`Cannot read ${quote(source.name)}: expected ${expected}, found ${found}`, {
      cause,
    });
  };

  if (source.size < 8) fail("a safetensors file of at least 8 bytes", `${source.size}`);
  const head = await source.read(0, 8);
  const headerLength = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  if (headerLength > BigInt(MAX_HEADER_BYTES)) {
    fail(`a header of at most ${MAX_HEADER_BYTES} bytes`, `${headerLength}`);
  }
  const dataStart = 8 + Number(headerLength);
  if (dataStart > source.size) {
    fail(`a header of ${headerLength} bytes`, `only ${source.size - 8} bytes after its length`);
  }

  let text = "";
  try {
    text = decodeUtf8(await source.read(8, dataStart));
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    fail("a header in UTF-8", "other bytes", cause);
  }
  if (text[0] !== "{") fail(`a header that starts with "{"`, text === "" ? "nothing" : quote(text[0]));
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    fail("a header in JSON", quote((cause as Error).message), cause);
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) fail("every name in the header once", `${quote(duplicate)} twice`);

  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(header as Record<string, unknown>)) {
    if (name === "__metadata__") {
      if (!isObject(entry)) return fail("__metadata__ to be an object", describe(entry));
      for (const [key, value] of Object.entries(entry)) {
        if (typeof value !== "string") {
          return fail(`__metadata__ ${quote(key)} to be a string`, describe(value));
        }
        metadata.set(key, value);
      }
    } else {
      const found = tensorInfo(name, entry, dataStart, fail);
      tensors.set(name, found);
    }
  }
  checkLayout([...tensors.values()], { dataStart, size: source.size }, fail);

  const info = (name: string): TensorInfo => {
    const found = tensors.get(name);
    if (found === undefined) {
      throw new CheckpointError(`Cannot load ${quote(name)}: not in ${quote(source.name)}`);
    }
    return found;
  };
  const readBytes = async (name: string): Promise<Uint8Array> => {
    const { begin, end } = info(name);
    const data = await source.read(begin, end);
    return data.byteOffset % 8 === 0 ? data : data.slice();
  };
  return {
    name: source.name,
    metadata,
    tensors,
    async read(name) {
      const { dtype, shape } = info(name);
      if (dtype !== "F16" && dtype !== "F32" && dtype !== "BF16") {
        throw new CheckpointError(`Cannot load ${quote(name)}: expected F16, BF16 or F32, found ${dtype}`);
      }
      return { name, dtype, shape, data: await readBytes(name) };
    },
    readBytes,
    close: () => source.close(),
  };
}

type Fail = (expected: string, found: string) => never;

function tensorInfo(name: string, entry: unknown, dataStart: number, fail: Fail): TensorInfo {
  const tensor = `tensor ${quote(name)}`;
  if (name === "__proto__") return fail("names of tensors", quote(name));
  if (!isObject(entry)) return fail(`${tensor} to be an object`, describe(entry));
  for (const key of Object.keys(entry)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") {
      return fail(`${tensor} to have dtype, shape and data_offsets`, `also ${quote(key)}`);
    }
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BITS, dtype)) {
    return fail(`the dtype of ${tensor} to be one of ${Object.keys(DTYPE_BITS).join(" ")}`, describe(dtype));
  }
  const isSize = (n: unknown) =>
    typeof n === "number" && Number.isSafeInteger(n) && n >= 0 && !Object.is(n, -0);
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return fail(`the shape of ${tensor} to be a list of whole numbers`, describe(shape));
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail(`the data_offsets of ${tensor} to be two whole numbers`, describe(offsets));
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) return fail(`the data_offsets of ${tensor} to ascend`, describe(offsets));
  const bits = (shape as number[]).reduce((product, n) => product * n, DTYPE_BITS[dtype as SafetensorsDtype]);
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0) {
    return fail(`the size of ${tensor} to be a whole number of bytes below 2^53`, `${bits / 8}`);
  }
  if (end - begin !== bits / 8) {
    return fail(
      `${tensor} of ${dtype} [${describeShape(shape)}] to have ${bits / 8} bytes`,
      `data_offsets ${describe(offsets)} of ${end - begin} bytes`,
    );
  }
  return {
    name,
    dtype: dtype as SafetensorsDtype,
    shape: Object.freeze(shape as number[]),
    begin: dataStart + begin,
    end: dataStart + end,
  };
}

/** The tensors must tile the data section: no overlap, no hole, nothing past either end. */
function checkLayout(tensors: TensorInfo[], file: { dataStart: number; size: number }, fail: Fail) {
  const { dataStart, size } = file;
  let at = dataStart;
  let previous = "";
  for (const { name, begin, end } of tensors.sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (end > size) {
      fail(`tensor ${quote(name)} to end within the ${size - dataStart} bytes of data`, `${end - dataStart}`);
    }
    if (begin !== at) {
      const after = previous === "" ? "" : ` after ${quote(previous)}`;
      fail(
        `tensor ${quote(name)} to begin at byte ${at - dataStart} of the data${after}`,
        `${begin - dataStart}, which ${begin < at ? "overlaps" : "leaves a hole"}`,
      );
    }
    at = end;
    previous = name;
  }
  if (at !== size) fail(`${at - dataStart} bytes of data`, `${size - dataStart}`);
}

/**
 * The first key that stands twice in one object of a valid JSON text. JSON.parse keeps the last silently, and
 * a file that two readers read differently is not to be trusted.
 */
function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === "{") open.push(new Set());
    else if (c === "}") open.pop();
    else if (c === '"') {
      const start = i;
      while (json[++i] !== '"') if (json[i] === "\\") i++;
      let next = i + 1;
      while (" \t\r\n".includes(json[next] ?? "x")) next++;
      if (json[next] !== ":") continue;
      const key: string = JSON.parse(json.slice(start, i + 1));
      const keys = open[open.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describeShape(shape: readonly unknown[]): string {
  return shape.length > 8 ? `${shape.slice(0, 8).join(", ")}, … (${shape.length})` : shape.join(", ");
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value) && value.every((n) => typeof n === "number")) return `[${describeShape(value)}]`;
  if (isObject(value)) return "an object";
  return Array.isArray(value) ? "a list" : String(value);
}
