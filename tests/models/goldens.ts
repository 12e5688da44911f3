import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Backend, Tensor } from "../../src/backend/backend.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { fileSource } from "../../src/checkpoint/source.ts";
import { assertClose } from "../support/assert_close.ts";

/** What PyTorch computed: `golden.safetensors` and `golden.json` of a folder; tests/goldens/README.md makes them. */
export interface Goldens {
  // deno-lint-ignore no-explicit-any
  json: any;
  shape(name: string): readonly number[];
  f32(name: string): Float32Array;
  integers(name: string): number[];
  bytes(name: string): Uint8Array;
}

export const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

export async function readGoldens(stem: string): Promise<Goldens> {
  const json = JSON.parse(await readFile(path(`${stem}.json`), "utf8"));
  json.noise_floor ??= JSON.parse(await readFile(path(join(dirname(stem), "noise_floor.json")), "utf8"));
  const file = await openSafetensors(await fileSource(path(`${stem}.safetensors`)));
  const bytes = await readFile(path(`${stem}.safetensors`));
  await file.close();
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start).toString());
  const data = (name: string, dtypes: string[]) => {
    const tensor = header[name];
    if (!tensor || !dtypes.includes(tensor.dtype)) {
      throw new Error(`No ${dtypes.join(" or ")} tensor ${name} in ${stem}`);
    }
    const [from, to] = tensor.data_offsets;
    return { dtype: tensor.dtype, data: new Uint8Array(bytes.subarray(start + from, start + to)) };
  };
  return {
    json,
    shape: (name) => header[name].shape,
    f32: (name) => new Float32Array(data(name, ["F32"]).data.buffer),
    integers: (name) => {
      const { dtype, data: raw } = data(name, ["I64", "I32", "F32"]);
      if (dtype === "F32") return [...new Float32Array(raw.buffer)];
      return dtype === "I32"
        ? [...new Int32Array(raw.buffer)]
        : [...new BigInt64Array(raw.buffer)].map(Number);
    },
    bytes: (name) => data(name, ["U8"]).data,
  };
}

/** `[B, C, H, W]` → `[B, H, W, C]`. */
export function toChannelsLast(
  x: Float32Array,
  [batch, channels, height, width]: readonly number[],
): Float32Array {
  const out = new Float32Array(x.length), pixels = height * width;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        out[(b * pixels + p) * channels + c] = x[(b * channels + c) * pixels + p];
      }
    }
  }
  return out;
}

/** Uploads a golden of shape `[B, C, H, W]`. */
export function uploadNchw(b: Backend, g: Goldens, name: string): Tensor {
  const [batch, channels, height, width] = g.shape(name);
  return b.upload(toChannelsLast(g.f32(name), g.shape(name)), [batch, height, width, channels]);
}

/** Compares with a golden of shape `[B, C, H, W]` and returns the largest difference. */
export async function compareNchw(
  b: Backend,
  actual: Tensor,
  { g, name, atol }: { g: Goldens; name: string; atol: number },
): Promise<number> {
  const [batch, channels, height, width] = g.shape(name);
  return compare(await b.read(actual), toChannelsLast(g.f32(name), g.shape(name)), {
    name,
    atol,
    shape: [batch, height, width, channels],
  });
}

export function compare(
  actual: Float32Array,
  expected: Float32Array,
  { name, atol, shape }: { name: string; atol: number; shape?: readonly number[] },
): number {
  assertClose(actual, expected, { atol, label: name, shape });
  return actual.reduce((worst, x, i) => Math.max(worst, Math.abs(x - expected[i])), 0);
}
