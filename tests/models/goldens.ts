import assert from "node:assert/strict";
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

/** How far a tensor may be from PyTorch's: its largest difference, and the root of the mean square of all. */
export interface Bounds {
  atol: number;
  rms?: number;
}

export const path = (relative: string) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

export async function readGoldens(stem: string): Promise<Goldens> {
  const json = JSON.parse(await readFile(path(`${stem}.json`), "utf8"));
  json.noise_floor ??= JSON.parse(await readFile(path(join(dirname(stem), "noise_floor.json")), "utf8"));
  const file = await openSafetensors(await fileSource(path(`${stem}.safetensors`)));
  const raw = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of file.tensors.keys()) raw.set(name, (await file.readBytes(name)).slice());
  await file.close();
  const data = (name: string, ...dtypes: string[]): { dtype: string; bytes: Uint8Array<ArrayBuffer> } => {
    const dtype = file.tensors.get(name)?.dtype;
    if (!dtype || !dtypes.includes(dtype)) {
      throw new Error(`No ${dtypes.join(" or ")} tensor ${name} in ${stem}`);
    }
    return { dtype, bytes: raw.get(name)! };
  };
  return {
    json,
    shape: (name) => file.tensors.get(name)!.shape,
    f32: (name) => new Float32Array(data(name, "F32").bytes.buffer),
    integers: (name) => {
      const { dtype, bytes: { buffer } } = data(name, "I64", "I32", "F32");
      if (dtype === "I64") return [...new BigInt64Array(buffer)].map(Number);
      return [...dtype === "I32" ? new Int32Array(buffer) : new Float32Array(buffer)];
    },
    bytes: (name) => data(name, "U8").bytes,
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
  { g, name, atol, rms }: Bounds & { g: Goldens; name: string },
): Promise<number> {
  const [batch, channels, height, width] = g.shape(name);
  return compare(await b.read(actual), toChannelsLast(g.f32(name), g.shape(name)), {
    name,
    atol,
    rms,
    shape: [batch, height, width, channels],
  });
}

export function compare(
  actual: Float32Array,
  expected: Float32Array,
  { name, atol, rms = Infinity, shape }: Bounds & { name: string; shape?: readonly number[] },
): number {
  assertClose(actual, expected, { atol, label: name, shape });
  const mean = Math.sqrt(actual.reduce((sum, x, i) => sum + (x - expected[i]) ** 2, 0) / actual.length);
  assert.ok(
    mean <= rms,
    `${name}: the root mean square of its differences is ${mean}, expected at most ${rms}`,
  );
  return actual.reduce((worst, x, i) => Math.max(worst, Math.abs(x - expected[i])), 0);
}
