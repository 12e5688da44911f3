import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";
import { createWebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { fileSource } from "../../src/checkpoint/source.ts";
import { hasGpu } from "../support/gpu.ts";

/** The oracle, both sets of kernels (on two threads and on one), and the GPU. Freed memory is poisoned. */
export async function backends(): Promise<Record<string, Backend>> {
  return {
    reference: createReferenceBackend(),
    fast: await createWasmBackend({ kernels: "fast", threads: 2, poison: true }),
    strict: await createWasmBackend({ kernels: "strict", threads: 1, poison: true }),
    ...(hasGpu && { gpu: await createWebgpuBackend({ f16: false, poison: true }) }),
  };
}

/** A case of tomesd's matching. To make them again: models/emoji/training/make_golden.py, tests/goldens/make_tome.py. */
export interface TomeCase {
  name: string;
  batch: number;
  h: number;
  w: number;
  channels: number;
  sx: number;
  sy: number;
  r: number;
  r_asked: number;
  compare: "order" | "sets";
  has(name: string): boolean;
  f32(name: string): Promise<Float32Array>;
  ints(name: string): Promise<Int32Array>;
}

/** `json` and the `.safetensors` beside it, relative to the repository. */
export async function tomeCases(path: string): Promise<TomeCase[]> {
  const at = (end: string) => fileURLToPath(new URL(`../../${path}.${end}`, import.meta.url));
  const { tome } = JSON.parse(await readFile(at("json"), "utf8"));
  const file = await openSafetensors(await fileSource(at("safetensors")));
  return (tome as (TomeCase & { case: number })[]).map((info) => ({
    ...info,
    name: `${path} tome.${info.case}`,
    has: (name) => file.tensors.has(`tome.${info.case}.${name}`),
    f32: async (name) => new Float32Array((await bytes(info.case, name)).buffer),
    ints: async (name) => {
      const { dtype } = file.tensors.get(`tome.${info.case}.${name}`)!;
      const { buffer } = await bytes(info.case, name);
      return dtype === "I32" ? new Int32Array(buffer) : Int32Array.from(new BigInt64Array(buffer), Number);
    },
  }));

  async function bytes(index: number, name: string): Promise<Uint8Array<ArrayBuffer>> {
    return (await file.readBytes(`tome.${index}.${name}`)).slice();
  }
}
