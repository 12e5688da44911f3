/**
 * Devices by name.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import { mayHaveGpu } from "./webgpu/bun.ts";
import type { BackendOptions } from "./wasm/backend.ts";

export type { BackendOptions };
export type { KernelChoice } from "./wasm/module.ts";

/**
 * A device's name. `auto` is a GPU that is real and passes a self-test, else the CPU; `reference` is scalar
 * TypeScript, slow and obvious, to hold the others to.
 *
 * @example
 * ```ts
 * import { createBackend, type DeviceName } from "tome-edge";
 *
 * for (const name of ["reference", "cpu"] satisfies DeviceName[]) {
 *   const backend = await createBackend(name);
 *   console.log(backend.device, backend.description);
 *   await backend.dispose();
 * }
 * ```
 */
export type DeviceName = "auto" | "cpu" | "gpu" | "reference";

/**
 * Starts a device. `auto` is a GPU that is real (a software adapter is slower than the CPU's kernels) and gave
 * known results, else the CPU, whose description then says why.
 *
 * @throws {DeviceError} if the device is not there.
 * @throws {TypeError} for another name.
 * @throws {RangeError} for options out of range.
 *
 * @example
 * ```ts
 * import { createBackend } from "tome-edge";
 *
 * const backend = await createBackend("cpu");
 * const x = backend.keep(backend.upload(Float32Array.of(1, 2, 3, 4), [2, 2]));
 * console.log(await backend.read(backend.lincomb([[2, x]]))); // [2, 4, 6, 8]
 * await backend.dispose();
 * ```
 */
export async function createBackend(
  device: DeviceName = "auto",
  options: BackendOptions = {},
): Promise<Backend> {
  switch (device) {
    case "auto": {
      let reason = "no sign of a GPU";
      if (mayHaveGpu()) {
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
