/**
 * Devices by name.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";
import type { Backend } from "./backend.ts";
import type { WasmOptions } from "./wasm/backend.ts";

export type DeviceName = "auto" | "cpu" | "gpu" | "reference";

/** What the CPU's kernels take; `reference` ignores it. */
export type BackendOptions = Pick<WasmOptions, "threads" | "kernels" | "module" | "residentBytes">;

/**
 * Starts a device. `auto` is the best one that works here.
 *
 * @throws {DeviceError} if the device is not there.
 */
export async function createBackend(
  device: DeviceName = "auto",
  options: BackendOptions = {},
): Promise<Backend> {
  switch (device) {
    case "auto":
    case "cpu": {
      const { createWasmBackend } = await import("./wasm/backend.ts");
      return await createWasmBackend(options);
    }
    case "gpu":
      throw new DeviceError(`Cannot start device "gpu": this build has no GPU backend yet`);
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
