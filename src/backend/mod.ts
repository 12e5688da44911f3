/**
 * Devices by name.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import { mayHaveGpu } from "./webgpu/bun.ts";
import { inNode } from "./webgpu/node.ts";
import type { WasmOptions } from "./wasm/backend.ts";

export type DeviceName = "auto" | "cpu" | "gpu" | "reference";

/** What the CPU's kernels take; `reference` ignores it. */
export type BackendOptions = Pick<WasmOptions, "threads" | "kernels" | "module" | "residentBytes">;

/**
 * Starts a device. `auto` is a GPU that is real (a software adapter is slower than the CPU's kernels) and gave
 * known results, else the CPU, whose description then says why.
 *
 * @throws {DeviceError} if the device is not there.
 */
export async function createBackend(
  device: DeviceName = "auto",
  options: BackendOptions = {},
): Promise<Backend> {
  switch (device) {
    case "auto": {
      let reason = "no sign of a GPU";
      if (!("Bun" in globalThis || inNode) || mayHaveGpu()) {
        try {
          const { createWebgpuBackend } = await import("./webgpu/backend.ts");
          return await createWebgpuBackend({ realOnly: true });
        } catch (error) {
          // Whatever it was, the CPU will do.
          reason = error instanceof Error ? error.message : String(error);
        }
      }
      const { createWasmBackend } = await import("./wasm/backend.ts");
      return await createWasmBackend({ ...options, note: reason });
    }
    case "cpu": {
      const { createWasmBackend } = await import("./wasm/backend.ts");
      return await createWasmBackend(options);
    }
    case "gpu": {
      const { createWebgpuBackend } = await import("./webgpu/backend.ts");
      return await createWebgpuBackend();
    }
    case "reference": {
      const { createReferenceBackend } = await import("./reference/backend.ts");
      return createReferenceBackend();
    }
    default:
      device satisfies never;
      throw new TypeError(
        `Cannot start a device: expected auto, cpu, gpu or reference, found ${String(device)}`,
      );
  }
}
