import { findAdapter, placeGpu } from "../../src/backend/webgpu/adapter.ts";
import {
  createWebgpuBackend,
  type WebgpuBackend,
  type WebgpuOptions,
} from "../../src/backend/webgpu/backend.ts";
import { zeroByLoop } from "./bun_toggles.ts";
import { missing } from "./missing.ts";

// From here on the GPU of the tests on Bun, where SwiftShader compiles for minutes otherwise.
if ("Bun" in globalThis && !navigator.gpu) {
  const gpu = await placeGpu();
  if (typeof gpu !== "string") {
    Object.defineProperty(navigator, "gpu", { value: await zeroByLoop(gpu), configurable: true });
  }
}

/** Whether this machine has an adapter, software ones included; says so in one line where not. */
export const hasGpu: boolean = await findAdapter().then(
  () => true,
  (error) => {
    missing(`the GPU backend: ${(error as Error).message}`);
    return false;
  },
);

const hasF16 = hasGpu && (await findAdapter()).adapter.features.has("shader-f16");
if (hasGpu && !hasF16) console.log("Not tested: f16, since this adapter has no shader-f16");

/** The element types that the GPU here has, by the name that a test shows. */
export const GPU_TYPES: Record<string, { f16: boolean }> = {
  ...(hasGpu && { "webgpu f32": { f16: false } }),
  ...(hasF16 && { "webgpu f16": { f16: true } }),
};

/** A backend of every such type. */
export async function gpuBackends(options: WebgpuOptions = {}): Promise<Record<string, WebgpuBackend>> {
  const made: Record<string, WebgpuBackend> = {};
  for (const [name, type] of Object.entries(GPU_TYPES)) {
    made[name] = await createWebgpuBackend({ ...options, ...type });
  }
  return made;
}
