import { fileURLToPath } from "node:url";
import type { HostTensor } from "../../src/backend/backend.ts";
import { widen } from "../../src/backend/half.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { fileSource } from "../../src/checkpoint/source.ts";

/** A tensor of a golden file, and its values as f32. */
export interface Golden extends HostTensor {
  readonly values: Float32Array;
}

/** Every tensor (F16, BF16 or F32) of a `.safetensors` file, by a path relative to tests/. */
export async function readGoldens(path: string): Promise<Map<string, Golden>> {
  const file = await openSafetensors(await fileSource(fileURLToPath(new URL(`../${path}`, import.meta.url))));
  const goldens = new Map<string, Golden>();
  for (const name of file.tensors.keys()) {
    const tensor = await file.read(name);
    const size = tensor.shape.reduce((a, n) => a * n, 1);
    goldens.set(name, { ...tensor, values: widen(tensor, 0, size) });
  }
  await file.close();
  return goldens;
}
