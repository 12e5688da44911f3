import type { LocationOptions } from "../checkpoint/location.ts";
import { Engine } from "./engine.ts";
import { Pipeline } from "./pipeline.ts";

/** What can be said of loading where there is one thread and no cache. */
export type EdgeOptions = Pick<LocationOptions, "signal" | "onProgress" | "chunkBytes" | "memoryBytes">;

/**
 * A pipeline for places that count every megabyte and cannot compile WebAssembly: weights stay in half precision
 * outside the kernels' memory, and of the download little is held.
 */
export async function loadEdgePipeline(
  model: string | URL,
  { module, ...options }: EdgeOptions & { module: WebAssembly.Module },
): Promise<Pipeline> {
  return new Pipeline(
    await Engine.load(String(model), {
      chunkBytes: 4 << 20,
      memoryBytes: 8 << 20,
      ...options,
      device: "cpu",
      threads: 1,
      residentBytes: 0,
      module,
      cache: false,
    }),
  );
}
