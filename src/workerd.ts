/**
 * For Cloudflare's runtime (`workerd`), which has no threads, no files, 128 MB of memory, and takes WebAssembly
 * only as an imported module: the strict kernels on one thread, and models from a URL. `docs/edge.md` says what
 * fits.
 *
 * @example
 * ```ts ignore
 * import { bipartiteSoftMatchingRandom2d, createBackend } from "tome-edge/workerd";
 *
 * const backend = await createBackend("cpu");
 * const plan = await bipartiteSoftMatchingRandom2d(backend, x, { batch: 1, width, height, channels, r });
 * ```
 *
 * @module
 */
// @ts-ignore: on this runtime, a .wasm file's default export is its WebAssembly.Module.
import kernels from "../asm/pkg/kernels.strict.single.wasm";
import type { Backend } from "./backend/backend.ts";
import { createWasmBackend } from "./backend/wasm/backend.ts";
import { type EdgeOptions, loadEdgePipeline } from "./pipeline/edge.ts";
import type { Pipeline } from "./pipeline/pipeline.ts";

export type { Backend, Pipeline };
export type { EdgeOptions } from "./pipeline/edge.ts";
export { applyPatch, removePatch } from "./tome/patch.ts";
export {
  bipartiteSoftMatchingRandom2d,
  type SoftMatching,
  type SoftMatchingOptions,
} from "./tome/bipartite_soft_matching.ts";
export { AbortError, CheckpointError, DeviceError } from "./errors.ts";
export { VERSION } from "./version.ts";

/** The CPU, which is the one device there is. */
export function createBackend(_device: "cpu" = "cpu"): Promise<Backend> {
  return createWasmBackend({ module: kernels, threads: 1 });
}

/** Loads a model from a URL, in little memory: see `loadPipeline` of the main entry. */
export function loadPipeline(model: string | URL, options: EdgeOptions = {}): Promise<Pipeline> {
  return loadEdgePipeline(model, { ...options, module: kernels });
}
